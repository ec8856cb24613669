import { createContext, runInContext } from 'node:vm';
import { beforeAll, describe, expect, test } from 'vitest';
import { type Bundle, bundle } from './bundle.ts';

let index: Bundle;

beforeAll(async () => {
  index = await bundle({ entry: 'src/index.ts', for: 'browser' });
});

describe('the index entry', () => {
  test('reaches neither koffi, nor Node.js, nor the Linux half, in all its modules', () => {
    expect(index.modules.length).toBeGreaterThan(5);
    expect(index.modules.filter((module) => /koffi|node:|browser-external|\/linux/.test(module))).toEqual([]);
    expect(index.code).not.toMatch(/koffi|require|process\./);
  });

  test('the same question finds them in the Linux entry: the check can fail', async () => {
    const linux = await bundle({ entry: 'src/linux.ts', for: 'node' });
    expect(linux.modules.some((module) => /\/linux-system/.test(module))).toBe(true);
    expect(linux.modules).toContain('node:module');
    expect(linux.code).toMatch(/koffi/);
  });
});

/** A realm with the language and WebAssembly, and nothing of Node.js: less than a browser has. */
function bareRealm(): ReturnType<typeof createContext> {
  const realm = createContext({});
  expect(runInContext('typeof process + typeof require + typeof Buffer', realm)).toBe('undefinedundefinedundefined');
  return realm;
}

const useMemory = (options: string) => `
  const memory = bundled.createManagedMemory({ guestFrames: 4, kernelFrames: 2, ${options} });
  const mapping = memory.map(memory.frames.allocate('guest'));
  mapping.view.setU32(0, 0x12345678);
  const target = new Uint8Array(4);
  memory.read(bundled.pfnToHpa(mapping.pfn), target);
  const old = mapping.view.orU32(0, 1);
  JSON.stringify([Object.prototype.toString.call(memory.buffer), [...target], old]);
`;

describe('in a realm without Node.js', () => {
  test('memory is shared, and works', () => {
    const realm = bareRealm();
    runInContext(index.code, realm);
    expect(JSON.parse(runInContext(useMemory(''), realm))).toEqual([
      '[object SharedArrayBuffer]',
      [0x78, 0x56, 0x34, 0x12],
      0x12345678,
    ]);
  });

  test.each(['', 'shared: false'])(
    'without SharedArrayBuffer, as in a page without isolation, memory is unshared (%s)',
    (options) => {
      const realm = bareRealm();
      runInContext('delete globalThis.SharedArrayBuffer', realm);
      runInContext(index.code, realm);
      expect(JSON.parse(runInContext(useMemory(options), realm))).toEqual([
        '[object ArrayBuffer]',
        [0x78, 0x56, 0x34, 0x12],
        0x12345678,
      ]);
    },
  );

  test('without SharedArrayBuffer, insisting on shared memory is ENOSYS', () => {
    const realm = bareRealm();
    runInContext('delete globalThis.SharedArrayBuffer', realm);
    runInContext(index.code, realm);
    const insist = `try { ${useMemory('shared: true')} } catch (error) { JSON.stringify([error.name, error.code]) }`;
    expect(JSON.parse(runInContext(insist, realm))).toEqual(['OperatingError', 'ENOSYS']);
  });
});
