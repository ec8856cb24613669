import type { LinuxSystem } from './linux-system.ts';

/**
 * Room below vm.max_map_count that windows never use up. At the limit Linux refuses every mmap(), also the one that
 * would undo a mapping, and V8 aborts when it needs a page; giving the room back lets both go on.
 */
export class MappingReserve {
  readonly #system: LinuxSystem;
  readonly #count: number;
  #address: number;

  constructor(system: LinuxSystem, o: { count: number }) {
    this.#system = system;
    this.#count = o.count;
    this.#address = system.takeMappings(o.count);
  }

  /** Whether the room is held. Windows map nothing while it is not. */
  get held(): boolean {
    return this.#address !== -1;
  }

  /** Takes the room again if it was given back. */
  take(): boolean {
    if (!this.held) this.#address = this.#system.takeMappings(this.#count);
    return this.held;
  }

  /** Gives the room back to the process; false if there is none. */
  give(): boolean {
    if (!this.held) return false;
    this.#system.giveMappings({ address: this.#address, count: this.#count });
    this.#address = -1;
    return true;
  }
}
