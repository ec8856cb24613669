import type { BackendName } from '../backends.ts';
import { eventKinds } from './host-events.ts';
import type { StormResult } from './storm.ts';

/** One thing that must hold, and whether it did. */
export interface Check {
  readonly name: string;
  readonly passed: boolean;
  /** What was found, for people. */
  readonly text: string;
}

/** What a storm says of its backend: the part that is judged. */
export type JudgedStorm = Pick<StormResult, 'events' | 'accesses' | 'corruptedPages' | 'guest'>;

/**
 * Judges the storms. host-map must show stale accesses and pfncache none: a run in which neither does proves nothing, and
 * one in which nothing happened even less.
 */
export function judge(storms: ReadonlyMap<BackendName, JudgedStorm>): readonly Check[] {
  return [...storms].flatMap(([name, storm]) => [
    stormHappened(name, storm),
    ...(name === 'host-map' ? judgeHostMap(storm) : judgePfncache(storm)),
  ]);
}

function stormHappened(name: BackendName, { events, accesses }: JudgedStorm): Check {
  const tried = { ...events, migrate: events.migrate + events.migrateRefused };
  const everyKind = eventKinds.every((kind) => tried[kind] > 0) && events.notification > 0;
  const watched = accesses.watched.L0 + accesses.watched.processor;
  const missing = accesses.unwatched.length === 0 ? 'of all pages' : `none of ${accesses.unwatched.join('; ')}`;
  return {
    name: `${name}-storm-happened`,
    passed: everyKind && accesses.unwatched.length === 0 && accesses.watched.L0 > 0 && accesses.watched.processor > 0,
    text: `${name}: every kind of event hit L2; ${watched} accesses watched, ${missing}`,
  };
}

function judgeHostMap({ accesses }: JudgedStorm): readonly Check[] {
  return [
    {
      name: 'host-map-shows-stale-accesses',
      passed: accesses.stale > 0,
      text: `host-map shows stale accesses: ${accesses.stale}`,
    },
  ];
}

function judgePfncache({ accesses, corruptedPages, guest }: JudgedStorm): readonly Check[] {
  return [
    {
      name: 'pfncache-shows-no-stale-access',
      passed: accesses.stale === 0,
      text: `pfncache shows no stale access: ${accesses.stale}`,
    },
    {
      name: 'pfncache-overwrites-no-frame-of-others',
      passed: corruptedPages === 0,
      text: `pfncache overwrites no frame of others: ${corruptedPages}`,
    },
    {
      name: 'pfncache-guest-sees-no-wrong-result',
      passed: guest.anomalies === 0,
      text: `under pfncache the guest sees no wrong result: ${guest.anomalies}`,
    },
  ];
}
