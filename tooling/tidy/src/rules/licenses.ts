import { lineRule, type Rule } from '../rule.ts';

/** Written apart, so that this file does not match itself. */
const markers = [
  `SPDX-License-Identifier:.*${'G'}PL`,
  `GNU (?:Lesser |Affero |Library )?General ${'P'}ublic License`,
  `MODULE_LICENSE\\("${'G'}PL`,
  `EXPORT_SYMBOL_${'G'}PL\\(`,
  `Free Software ${'F'}oundation`,
];

const ourOwnTextOnly = lineRule({
  name: 'no-gpl',
  statement: 'no file carries a mark of the GPL or LGPL',
  pattern: new RegExp(markers.join('|')),
  message: (match) => match[0],
  applies: () => true,
});

export const licenseRules: readonly Rule[] = [ourOwnTextOnly];
