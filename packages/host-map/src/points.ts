import { sleepPoint } from '@nvmx/sync';

/** The frame is known, and pinned where it can be. Partner: a host event, which a pin holds off and nothing else does. */
export const mapping = sleepPoint('host-map: map');
