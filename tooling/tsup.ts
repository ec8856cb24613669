import { defineConfig, type Options } from 'tsup';

const withTypes = process.env.NVMX_TYPES !== '0';

/**
 * The one build configuration of the house: ESM with types, one file an entry, siblings left as imports.
 * A package names its entries and nothing else. `NVMX_TYPES=0` leaves the declaration files as they are: what runs
 * needs none, and they take most of the time.
 */
export function library(entry: readonly string[], extra: Options = {}): ReturnType<typeof defineConfig> {
  return defineConfig({
    entry: [...entry],
    format: 'esm',
    target: 'node20',
    platform: 'neutral',
    dts: withTypes,
    sourcemap: true,
    clean: withTypes,
    treeshake: true,
    ...extra,
  });
}
