import { defineConfig } from 'vitest/config';

const slow = '**/*.slow.test.ts';

/**
 * Tests import siblings through the `@nvmx/source` condition, so that a unit test needs no build.
 * `vitest run --mode slow` runs the slow tests (`*.slow.test.ts`), and nothing else does.
 */
export default defineConfig(({ mode }) => ({
  resolve: { conditions: ['@nvmx/source'] },
  ssr: { resolve: { conditions: ['@nvmx/source'] } },
  test: {
    include: [
      mode === 'slow'
        ? '{packages,apps,guests,tooling}/**/test/**/*.slow.test.ts'
        : '{packages,apps,guests,tooling}/**/test/**/*.test.ts',
    ],
    exclude: ['**/node_modules/**', '**/dist/**', ...(mode === 'slow' ? [] : [slow])],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: mode === 'slow' ? 600_000 : 30_000,
    reporters: ['default'],
  },
}));
