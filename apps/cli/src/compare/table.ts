import type { BackendName } from '../backends.ts';
import { COLUMNS, wrap, wrapIndented } from '../text.ts';
import { stormFigures } from './compare-guest.ts';
import { count, digits, duration } from './format.ts';
import type { BackendReport, CompareReport } from './report.ts';
import type { StaleExample } from './stale-summary.ts';
import { counterNames, median } from './statistics.ts';

const CELL = 17;

export interface TableOptions {
  /** Escape sequences for a terminal. */
  readonly color: boolean;
}

/** A report for people: at most 80 columns wide, backends side by side. */
export function renderTable(report: CompareReport, o: TableOptions): string {
  const table = new Table(Object.entries(report.backends) as [BackendName, BackendReport][]);
  const lines = [
    ...heading(report),
    '',
    ...roundTrips(report, table),
    '',
    ...storm(report, table),
    '',
    ...ratios(report),
    ...examples(table.columns),
    ...remarks(report),
    '',
    ...report.checks.map(({ passed, text }) => `${mark(passed, o)}  ${text}`),
  ];
  return `${lines.join('\n')}\n`;
}

/** Rows of one label and one cell a backend. */
class Table {
  readonly columns: readonly (readonly [BackendName, BackendReport])[];

  constructor(columns: readonly (readonly [BackendName, BackendReport])[]) {
    this.columns = columns;
  }

  head(title: string): string {
    return this.#line(
      title,
      this.columns.map(([name]) => name),
    );
  }

  row(label: string, cell: (backend: BackendReport) => string): string {
    return this.#line(
      `  ${label}`,
      this.columns.map(([, backend]) => cell(backend)),
    );
  }

  counters(cells: (backend: BackendReport) => Readonly<Record<(typeof counterNames)[number], number>>): string[] {
    return counterNames.map((name) => this.row(name, (backend) => count(cells(backend)[name])));
  }

  #line(label: string, cells: readonly string[]): string {
    const width = COLUMNS - CELL * cells.length;
    return `${label.padEnd(width)}${cells.map((cell) => cell.padStart(CELL)).join('')}`;
  }
}

function heading({ memory, machine, versions, guest }: CompareReport): string[] {
  const file = memory.file === null ? (memory.kind === 'unmanaged' ? ' (memfd)' : '') : ` (${memory.file})`;
  return [
    `nvmx ${versions.nvmx} compare: ${memory.kind} memory${file}`,
    wrap(`${machine.cpuCount} x ${machine.cpu}, ${machine.platform} ${machine.kernel}, Node.js ${versions.node}`),
    `In each boot L1 checked every kind of page with its L2: ${guest.checksPassed} checks passed.`,
  ];
}

function roundTrips({ measurement, samples, memory }: CompareReport, table: Table): string[] {
  const { rounds, roundTrips } = measurement;
  const nanoseconds = (name: BackendName) =>
    samples.roundTrip.find((one) => one.backend === name && one.memory === memory.kind)!.nanoseconds;
  const names = new Map(table.columns.map(([name, backend]) => [backend, name]));
  return [
    table.head(`Nested round trips: ${rounds} rounds of ${count(roundTrips)}`),
    table.row('time of one, median', ({ roundTripNs }) => duration(roundTripNs)),
    table.row('in the shortest round', (backend) => duration(Math.min(...nanoseconds(names.get(backend)!)))),
    table.row('in the longest round', (backend) => duration(Math.max(...nanoseconds(names.get(backend)!)))),
    ...table.counters(({ phases }) => phases.roundTrips),
  ];
}

function storm({ measurement }: CompareReport, table: Table): string[] {
  return [
    table.head(`Storm of host events: ${measurement.stormIterations} iterations of L2`),
    table.row('pages discarded and restored', ({ storm: { events } }) => count(events.discard)),
    table.row('pages migrated', ({ storm: { events } }) => migrated(events.migrate, events.migrateRefused)),
    table.row('memslot moved', ({ storm: { events } }) => count(events.memslotMove)),
    table.row('memslot deleted and created', ({ storm: { events } }) => count(events.memslotRecreate)),
    table.row('notification vector raised', ({ storm: { events } }) => count(events.notification)),
    ...table.counters(({ phases }) => phases.storm),
    table.row('accesses watched: L0', ({ storm: one }) => count(one.watchedAccesses.L0)),
    table.row('accesses watched: processor', ({ storm: one }) => count(one.watchedAccesses.processor)),
    table.row('STALE ACCESSES', ({ staleAccesses }) => count(staleAccesses)),
    ...staleRows(table),
    table.row("others' frames overwritten", ({ storm: one }) => count(one.corruptedPages)),
    table.row('WRONG RESULTS SEEN BY THE GUEST', ({ storm: { guest } }) => count(guest.anomalies)),
    ...wrongRows(table),
  ];
}

function migrated(done: number, refused: number): string {
  return refused === 0 ? count(done) : `${count(done)} (${count(refused)} refused)`;
}

/** One row for each role and actor that any backend has. */
function staleRows(table: Table): string[] {
  const keys = table.columns.flatMap(([, { storm: one }]) =>
    one.staleByRole.map(({ role, actor }) => `${role}, ${actor}`),
  );
  return [...new Set(keys)].sort().map((key) =>
    table.row(`  ${key}`, ({ storm: one }) => {
      const found = one.staleByRole.find(({ role, actor }) => `${role}, ${actor}` === key);
      return count(found?.count ?? 0);
    }),
  );
}

/** One row for each kind of wrong result that the guest of any backend saw. */
function wrongRows(table: Table): string[] {
  return stormFigures
    .filter(({ name, wrong }) => wrong && table.columns.some(([, { storm: one }]) => one.guest[name] > 0))
    .map(({ name, text }) => table.row(`  ${text}`, ({ storm: one }) => count(one.guest[name])));
}

function ratios({ ratios: found, samples, measurement }: CompareReport): string[] {
  const { pageOperation, roundTripUnmanagedToManaged, roundTripUnmanagedToManagedMissing } = found;
  const [mapNs, checkNs] = [samples.pageOperation.mapNs, samples.pageOperation.checkNs].map((one) => median(one));
  return [
    'Ratios, each of one run',
    ratio(`map, read, unmap : check, read (${measurement.pages} pages)`, pageOperation),
    `    ${duration(mapNs!)} : ${duration(checkNs!)}`,
    roundTripUnmanagedToManaged === null
      ? wrapIndented(`round trip, unmanaged : managed: not measured: ${roundTripUnmanagedToManagedMissing}`, '  ')
      : ratio('round trip with pfncache, unmanaged : managed', roundTripUnmanagedToManaged),
  ];
}

function ratio(label: string, value: number): string {
  const cell = `${digits(value)} : 1`;
  return `  ${label}`.padEnd(COLUMNS - cell.length) + cell;
}

function examples(columns: Table['columns']): string[] {
  const found = columns.flatMap(([name, { storm: one }]) => one.examples.map((example) => exampleLine(name, example)));
  return found.length === 0
    ? []
    : ['', 'Stale accesses, the first of each kind by guest-physical address and frame', ...found];
}

function exampleLine(name: BackendName, { role, actor, gpa, reached, current }: StaleExample): string {
  const now = current === null ? 'no frame' : `frame ${current}`;
  return wrapIndented(`${name}, ${role}, ${actor}: ${gpa} is in ${now}, reached ${reached}`, '  ');
}

/** What differs on managed memory, said where both can be seen. */
function remarks({ memory, backends }: CompareReport): string[] {
  if (memory.kind === 'unmanaged' || backends['host-map'] === undefined) return [];
  const text =
    'Managed memory: host-map pins what it holds. A pinned page does not migrate, and the frame of a discarded page is ' +
    "nobody else's before it is unpinned: an access is stale then, but does others no harm. Unmanaged memory has no pins.";
  return ['', wrap(text)];
}

function mark(passed: boolean, { color }: TableOptions): string {
  const word = passed ? 'pass' : 'FAIL';
  if (!color) return word;
  return `\u001b[${passed ? 32 : 31}m${word}\u001b[0m`;
}
