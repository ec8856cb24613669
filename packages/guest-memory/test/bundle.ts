import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'vite';

const packageRoot = fileURLToPath(new URL('..', import.meta.url));

export interface Bundle {
  readonly code: string;
  /** Every module that went into the code, and every one that it imports from outside. */
  readonly modules: readonly string[];
}

/** Bundles a source file for a browser, or for Node.js with Node's own modules and koffi left outside. */
export async function bundle(o: { entry: string; for: 'browser' | 'node' }): Promise<Bundle> {
  const browser = o.for === 'browser';
  const result = await build({
    root: packageRoot,
    configFile: false,
    logLevel: 'error',
    build: {
      write: false,
      minify: false,
      target: 'es2022',
      ...(browser ? {} : { ssr: true }),
      lib: { entry: o.entry, formats: browser ? ['iife'] : ['es'], name: 'bundled' },
    },
  });
  const [output] = Array.isArray(result) ? result : [result];
  if (output === undefined || !('output' in output)) throw new Error(`bundle: ${o.entry} gave no output`);
  const chunks = output.output.filter((file) => file.type === 'chunk');
  return {
    code: chunks.map((chunk) => chunk.code).join('\n'),
    modules: chunks.flatMap((chunk) => [...chunk.moduleIds, ...chunk.imports, ...chunk.dynamicImports]),
  };
}

/** Runs a file of test/children in a Node.js process of its own; returns what it printed, read as JSON. */
export async function runChild(name: string, args: readonly string[] = []): Promise<unknown> {
  const { code } = await bundle({ entry: `test/children/${name}.ts`, for: 'node' });
  const child = promisify(execFile)(process.execPath, ['--input-type=module', '-', ...args], { cwd: packageRoot });
  child.child.stdin?.end(code);
  return JSON.parse((await child).stdout);
}
