export { main } from './cli.ts';
export type { CompareReport } from './compare/report.ts';
export type { Environment, OutputStream } from './environment.ts';
export { type ExitCode, exitCode } from './exit-codes.ts';
