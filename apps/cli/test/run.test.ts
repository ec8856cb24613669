import { fileURLToPath } from 'node:url';
import { type ImageName, images } from '@nvmx/guests';
import { describe, expect, test } from 'vitest';
import { main } from '../src/cli.ts';
import { createConsole } from './console.ts';

async function run(image: ImageName, ...options: string[]) {
  const console = createConsole();
  const code = await main(['run', fileURLToPath(images[image]), ...options], console.environment);
  return { code, stdout: console.stdout(), stderr: console.stderr() };
}

describe('nvmx run', () => {
  test('a guest that reports success: its serial output on stdout, exit code 0, and nothing else', async () => {
    expect(await run('hello', '--append', 'a=b c=d', '--memory', '16M')).toEqual({
      code: 0,
      stdout: 'hello from L1: 16 MiB of memory, command line "a=b c=d"\n',
      stderr: '',
    });
  });

  test.each(['host-map', 'pfncache'])('on the backend %s', async (backend) => {
    expect((await run('hello', '--backend', backend)).code).toBe(0);
  });

  test.each(['2M', '3G'])('with the least and the most memory: %s', async (memory) => {
    expect((await run('hello', '--memory', memory)).code).toBe(0);
  });

  test.each([1, 9, 255])('a guest that reports failure by %d: exit code 3, and its status', async (status) => {
    const { code, stdout, stderr } = await run('fail', '--append', `code=${status}`);
    expect([code, stdout]).toEqual([3, 'FAIL: this image fails on purpose\n']);
    expect(stderr).toBe(`nvmx: fail.elf: the guest reports failure: exit code ${status}\n`);
  });

  test('a triple fault: exit code 3, one line with RIP and bytes', async () => {
    const { code, stdout, stderr } = await run('triple-fault');
    expect([code, stdout]).toEqual([3, 'triple fault: now\n']);
    expect(stderr).toMatch(
      /^nvmx: triple-fault\.elf: the guest died: triple fault, at RIP 0x[0-9a-f]+, bytes cc( [0-9a-f]{2})+\n$/,
    );
  });

  test.each([
    ['an unknown instruction', '', 'triple fault by an unknown instruction', '0f 04'],
    ['an SSE instruction', 'opcode=sse', 'triple fault by an unknown instruction', '0f 57 c0'],
    ['UD2', 'opcode=ud2', 'triple fault', '0f 0b'],
  ])('%s: exit code 3, one line with RIP and bytes', async (_case, append, reason, bytes) => {
    const { code, stderr } = await run('unknown-instruction', '--append', append);
    expect(code).toBe(3);
    expect(stderr).toMatch(
      /^nvmx: unknown-instruction\.elf: the guest died: [^\n]+, at RIP 0x[0-9a-f]+, bytes [^\n]+\n$/,
    );
    expect(stderr).toContain(`died: ${reason}, at RIP`);
    expect(stderr).toContain(`bytes ${bytes}`);
  });

  test("an unknown instruction whose #UD the guest handles: the status is the guest's own", async () => {
    const { code, stderr } = await run('unknown-instruction', '--append', 'handler=1');
    expect([code, stderr]).toEqual([3, 'nvmx: unknown-instruction.elf: the guest reports failure: exit code 70\n']);
  });

  test('a guest that spins: exit code 3 when its time is up, with RIP', async () => {
    const { code, stdout, stderr } = await run('spin', '--timeout', '5');
    expect([code, stdout]).toEqual([3, 'spinning\n']);
    expect(stderr).toMatch(/^nvmx: spin\.elf: the guest still runs after 5 s, at RIP 0x1[0-9a-f]{5}\n$/);
  });
});
