import { pageBackendContract } from '@nvmx/mmu-events/testing';
import { createPfncacheBackend } from '../src/index.ts';

pageBackendContract('pfncache', (vm) => createPfncacheBackend(vm));
