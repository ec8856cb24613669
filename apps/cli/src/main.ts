#!/usr/bin/env node
import { main } from './cli.ts';
import { exitCode } from './exit-codes.ts';

/** Whoever reads the output may stop reading, a disk may be full: that ends the command, and is no defect of it. */
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') process.stderr.write(`nvmx: cannot write the output: ${error.message}\n`);
  process.exit(exitCode.USAGE);
});

process.exitCode = await main(process.argv.slice(2));
