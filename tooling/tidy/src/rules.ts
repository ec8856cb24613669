import type { Rule } from './rule.ts';
import { dependencyRules } from './rules/dependencies.ts';
import { exportRules } from './rules/exports.ts';
import { fileShapeRules } from './rules/file-shape.ts';
import { importRules } from './rules/imports.ts';
import { licenseRules } from './rules/licenses.ts';
import { packageShapeRules } from './rules/package-shape.ts';
import { readmeRules } from './rules/readme.ts';
import { testRules } from './rules/tests.ts';
import { wordRules } from './rules/words.ts';

/** Every rule of the house that a machine checks. */
export const rules: readonly Rule[] = [
  ...importRules,
  ...dependencyRules,
  ...packageShapeRules,
  ...exportRules,
  ...readmeRules,
  ...fileShapeRules,
  ...testRules,
  ...wordRules,
  ...licenseRules,
];
