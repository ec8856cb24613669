/** What the process ends with. Scripts may rely on each of them. */
export const exitCode = {
  /** The command did what it was asked to, and every check passed. */
  DONE: 0,
  /** A check of `nvmx compare` failed: the figures are printed all the same. */
  CHECK_FAILED: 1,
  /** The command line or a file that it names is not usable. */
  USAGE: 2,
  /** The guest reported failure, died, or did not end in time. */
  GUEST_FAILED: 3,
  /** A defect of nvmx itself. */
  OWN_DEFECT: 70,
} as const;

export type ExitCode = (typeof exitCode)[keyof typeof exitCode];
