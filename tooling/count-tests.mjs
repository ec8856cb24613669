#!/usr/bin/env node
// The closing line of .ci/run: `node tooling/count-tests.mjs REPORT FAILED_STEPS TEST_STATUS` reads vitest's JSON report.
// A failed step and a test file that could not be loaded count as one failure each; so does a run of the tests that
// failed with no failed test to show for it. Exits with 1 on any failure.
import { existsSync, readFileSync } from 'node:fs';

const [report, failedSteps, testStatus] = process.argv.slice(2);
const text = existsSync(report) ? readFileSync(report, 'utf8') : '';
const { numPassedTests = 0, numFailedTests = 0, testResults = [] } = text === '' ? {} : JSON.parse(text);
const brokenFiles = testResults.filter((file) => file.status === 'failed' && file.assertionResults.length === 0).length;
const failedTests = Math.max(numFailedTests + brokenFiles, testStatus === '0' ? 0 : 1);
const failed = failedTests + Number(failedSteps);

console.log(`\n${numPassedTests} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
