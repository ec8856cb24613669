import { PAGE_SIZE } from '@nvmx/guest-memory';
import { drive } from '@nvmx/sync';
import { print, raceCalls } from './measure.mjs';
import { vmWithSlots } from './vm.mjs';

/** setMemoryRegion(): each kind of change, at few slots and at all that there can be. */
export function benchUpdate() {
  const vms = [1, 512, 8192, 32_763].map((slots) => ({ slots, ...vmWithSlots({ slots, pages: 16 }) }));
  for (const [name, change] of Object.entries(changes)) {
    const pieces = vms.map(({ slots, vm, regionOf }) => [`${slots} slots`, () => change(vm, regionOf, slots)]);
    print(`setMemoryRegion(): ${name}`, raceCalls(pieces, { count: 300, rounds: 9 }));
  }
  const start = performance.now();
  vmWithSlots({ slots: 32_764, pages: 1 });
  console.log(`creating 32764 slots, one after the other: ${(performance.now() - start).toFixed(0)} ms`);
}

const changes = {
  'create and delete': (vm, regionOf, slots) => {
    drive(vm.setMemoryRegion(regionOf(slots)));
    drive(vm.setMemoryRegion({ ...regionOf(slots), bytes: 0 }));
  },
  'move there and back': (vm, regionOf, slots) => {
    const region = regionOf(slots - 1);
    drive(vm.setMemoryRegion({ ...region, gpa: region.gpa + 512 * PAGE_SIZE }));
    drive(vm.setMemoryRegion(region));
  },
  'dirty log on and off': (vm, regionOf, slots) => {
    drive(vm.setMemoryRegion({ ...regionOf(slots - 1), logDirtyPages: true }));
    drive(vm.setMemoryRegion(regionOf(slots - 1)));
  },
  'nothing changed': (vm, regionOf, slots) => drive(vm.setMemoryRegion(regionOf(slots - 1))),
};
