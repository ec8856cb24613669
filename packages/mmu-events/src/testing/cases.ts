import { balanceCases } from './balance-cases.ts';
import type { ContractCase } from './case.ts';
import { currencyCases } from './currency-cases.ts';
import { dirtyCases } from './dirty-cases.ts';
import { failureCases } from './failure-cases.ts';
import { holdCases } from './hold-cases.ts';
import { stalenessCases } from './staleness-cases.ts';
import { useCases } from './use-cases.ts';

/** The page-backend contract, rule by rule: what `pageBackendContract()` runs. */
export const contractCases: readonly ContractCase[] = [
  ...holdCases,
  ...failureCases,
  ...dirtyCases,
  ...currencyCases,
  ...stalenessCases,
  ...balanceCases,
  ...useCases,
];
