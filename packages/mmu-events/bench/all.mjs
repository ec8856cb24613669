import { benchAccess } from './access.mjs';
import { benchLookup } from './lookup.mjs';
import { benchNotifier } from './notifier.mjs';
import { benchUpdate } from './update.mjs';

benchLookup();
benchUpdate();
benchNotifier();
benchAccess();
