import { pageBackendContract } from '../src/testing.ts';
import { SimpleCacheBackend } from './support/simple-cache.ts';
import { SimpleMapBackend } from './support/simple-map.ts';

pageBackendContract('a small cache', (vm) => new SimpleCacheBackend(vm));

pageBackendContract('a small map-per-entry backend', (vm) => new SimpleMapBackend(vm), {
  current: false,
  keepsPages: false,
  pins: true,
  dirtyLogged: 'release',
  failures: { noMemslot: 'EINVAL', readOnlySlot: 'EINVAL', outOfMemory: 'throws ENOMEM' },
});
