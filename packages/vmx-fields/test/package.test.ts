import { readdirSync, readFileSync } from 'node:fs';
import { build } from 'vite';
import { describe, expect, it } from 'vitest';
import { packageRoot } from './tables.ts';

describe('the package', () => {
  it('imports nothing: no dependency, no module of Node.js', () => {
    const manifest = JSON.parse(readFileSync(`${packageRoot}/package.json`, 'utf8'));
    expect(manifest.dependencies).toBeUndefined();
    for (const path of readdirSync(`${packageRoot}/src`, { recursive: true }) as string[]) {
      if (!path.endsWith('.ts')) continue;
      const imports = readFileSync(`${packageRoot}/src/${path}`, 'utf8').matchAll(/from '([^']+)'/g);
      for (const [, specifier] of imports) expect(specifier, path).toMatch(/^\.\.?\//);
    }
  });

  it('leaves the tables that a program does not use out of its bundle', async () => {
    const reasons = await bundle(`import { exitReasonName } from './index.ts'; console.log(exitReasonName(48));`);
    expect(reasons).toContain('EPT_VIOLATION');
    for (const other of ['guest_rip', 'GUEST_RIP', 'PIN_BASED', 'VMXERR', 'IA32_EFER', 'vmxon_pa', 'PDPTE']) {
      expect(reasons).not.toContain(other);
    }
    expect(reasons.length).toBeLessThan(4_000);
  });
});

async function bundle(code: string): Promise<string> {
  const entry = `${packageRoot}/src/entry-of-the-bundle-test.ts`;
  const result = await build({
    root: packageRoot,
    configFile: false,
    logLevel: 'silent',
    plugins: [
      {
        name: 'virtual-entry',
        resolveId: (id) => (id === entry ? id : undefined),
        load: (id) => (id === entry ? code : undefined),
      },
    ],
    build: { write: false, minify: false, rollupOptions: { input: entry }, modulePreload: false },
  });
  const outputs = (Array.isArray(result) ? result : [result]).flatMap((each) => ('output' in each ? each.output : []));
  return outputs.map((output) => (output.type === 'chunk' ? output.code : '')).join('');
}
