import { defineConfig, type Options } from 'tsup';

/**
 * The one build configuration of the house: ESM with types, one file an entry, siblings left as imports.
 * A package names its entries and nothing else.
 */
export function library(entry: readonly string[], extra: Options = {}): ReturnType<typeof defineConfig> {
  return defineConfig({
    entry: [...entry],
    format: 'esm',
    target: 'node20',
    platform: 'neutral',
    dts: true,
    sourcemap: true,
    clean: true,
    treeshake: true,
    ...extra,
  });
}
