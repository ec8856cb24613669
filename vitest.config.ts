import { defineConfig } from 'vitest/config';

/** Tests import siblings through the `@nvmx/source` condition, so that a unit test needs no build. */
export default defineConfig({
  resolve: { conditions: ['@nvmx/source'] },
  ssr: { resolve: { conditions: ['@nvmx/source'] } },
  test: {
    include: ['{packages,apps,guests,tooling}/**/test/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 30_000,
    reporters: ['default'],
  },
});
