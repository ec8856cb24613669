import { PAGE_SIZE } from '@nvmx/guest-memory';
import { drive } from '@nvmx/sync';
import { nanoseconds, print } from './measure.mjs';
import { vmWithSlots } from './vm.mjs';

/** setMemoryRegion(): each kind of change, at few and at all slots. */
export function benchUpdate() {
  for (const slots of [1, 512, 8192, 32_763]) {
    const { vm, regionOf } = vmWithSlots({ slots, pages: 16 });
    const last = regionOf(slots - 1);
    const free = regionOf(slots);
    const options = { count: 500, rounds: 7 };
    print(`setMemoryRegion() with ${slots} slots`, [
      [
        'create + delete',
        nanoseconds(
          (n) =>
            repeat(n, () => {
              drive(vm.setMemoryRegion(free));
              drive(vm.setMemoryRegion({ ...free, bytes: 0 }));
            }),
          options,
        ),
      ],
      [
        'move there + back',
        nanoseconds(
          (n) =>
            repeat(n, () => {
              drive(vm.setMemoryRegion({ ...last, gpa: last.gpa + 512 * PAGE_SIZE }));
              drive(vm.setMemoryRegion(last));
            }),
          options,
        ),
      ],
      [
        'log on + off',
        nanoseconds(
          (n) =>
            repeat(n, () => {
              drive(vm.setMemoryRegion({ ...last, logDirtyPages: true }));
              drive(vm.setMemoryRegion(last));
            }),
          options,
        ),
      ],
      ['nothing changed', nanoseconds((n) => repeat(n, () => drive(vm.setMemoryRegion(last))), options)],
    ]);
  }
  const start = performance.now();
  vmWithSlots({ slots: 32_764, pages: 1 });
  console.log(`32764 slots created in ${(performance.now() - start).toFixed(0)} ms`);
}

function repeat(count, work) {
  for (let i = 0; i < count; i++) work();
}
