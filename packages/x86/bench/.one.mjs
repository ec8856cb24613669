import { createGuest } from '/work/main/packages/x86/bench/guest.mjs';

const code = process.argv[2];
const g = createGuest({ code });
for (let n = 0; n < 8; n++) {
  const s = process.hrtime.bigint();
  g.processor.enter(g.vmcs, { instructionsMax: 20e6 });
  const t = Number(process.hrtime.bigint() - s);
  console.log(((20e6 / t) * 1000).toFixed(1));
}
