import type { Fixture } from './fixture.ts';
import type { BackendPromises } from './promises.ts';

/** One rule of the page-backend contract. `run` throws when the backend breaks it. */
export interface ContractCase {
  /** The rule and the case. */
  readonly title: string;
  /** Whether the rule is for a backend with these promises; without it, for every one. */
  readonly applies?: (promises: BackendPromises) => boolean;
  run(fixture: Fixture): void;
}
