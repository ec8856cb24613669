// Where the built images are. URLs, so that Node reads them as files and a bundler can serve them.

export const imageNames = ['compare', 'hello', 'fail', 'triple-fault', 'unknown-instruction', 'spin'];

export const images = {
  compare: new URL('./bin/compare.elf', import.meta.url),
  hello: new URL('./bin/hello.elf', import.meta.url),
  fail: new URL('./bin/fail.elf', import.meta.url),
  'triple-fault': new URL('./bin/triple-fault.elf', import.meta.url),
  'unknown-instruction': new URL('./bin/unknown-instruction.elf', import.meta.url),
  spin: new URL('./bin/spin.elf', import.meta.url),
};
