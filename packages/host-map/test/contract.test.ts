import { pageBackendContract } from '@nvmx/mmu-events/testing';
import { createHostMapBackend } from '../src/index.ts';

pageBackendContract('host-map', (vm) => createHostMapBackend(vm), {
  current: false,
  keepsPages: false,
  pins: true,
  failures: { noMemslot: 'EINVAL', noHostPage: 'EINVAL', readOnlySlot: 'EINVAL', outOfMemory: 'throws ENOMEM' },
});
