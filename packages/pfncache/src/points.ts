import { point, sleepPoint } from '@nvmx/sync';

/** On the list, not active yet. The partner is the notifier's walk of the list. */
export const activating = point('gpc.activate: on the list');

/** Active, not resolved yet. The partner is the notifier's walk of the list. */
export const activated = point('gpc.activate: active');

/** Still usable, and on the list. The partner is the notifier's walk of the list. */
export const deactivating = point('gpc.deactivate: still active');

/** Not usable any more, still on the list. The partner is the notifier's walk of the list. */
export const deactivated = point('gpc.deactivate: inactive');

/** R6 is done: the lock is free and the notifier's counts are remembered. The partner is N1. */
export const unlocked = point('gpc.refresh: lock dropped');

/** R7 is done, R8 not yet: the frame is known and not mapped. The partner is N5, which may free it. */
export const resolved = point('gpc.refresh: pfn resolved');

/** R8: memremap() may sleep. */
export const mapping = sleepPoint('gpc.refresh: map');

/** R12 is done, and the caller does not know yet. The partner is a notifier that takes the page away again. */
export const refreshed = point('gpc.refresh: done');

/** R12: the old mapping goes, with no lock held. */
export const unmapping = sleepPoint('gpc.unmap');
