const ENTRIES = 1024;
const INDEX_MASK = ENTRIES - 1;
const NONE = -1;

/**
 * Guest-physical mappings that EPT walks found, for any EPT pointer: what INVEPT flushes.
 * Direct-mapped over 4-KiB fragments.
 */
export class EptCache {
  readonly #guestPage = new Float64Array(ENTRIES).fill(NONE);
  readonly #eptPage = new Float64Array(ENTRIES);
  readonly #hostPage = new Float64Array(ENTRIES);
  /** EPT permission bits that need no further walk: bits 2:0. */
  readonly #permissions = new Uint8Array(ENTRIES);

  /** The host page that backs the 4-KiB page `guestPage`, if all of `access` is known to be allowed; else -1. */
  find(eptPage: number, guestPage: number, access: number): number {
    const index = (guestPage / 4096) & INDEX_MASK;
    if (this.#guestPage[index] !== guestPage || this.#eptPage[index] !== eptPage) return NONE;
    return (this.#permissions[index] & access) === access ? this.#hostPage[index] : NONE;
  }

  /** The permissions that `find` knew for a page that it finds. */
  permissions(guestPage: number): number {
    return this.#permissions[(guestPage / 4096) & INDEX_MASK];
  }

  fill(o: {
    readonly eptPage: number;
    readonly guestPage: number;
    readonly hostPage: number;
    readonly permissions: number;
  }): void {
    const index = (o.guestPage / 4096) & INDEX_MASK;
    this.#guestPage[index] = o.guestPage;
    this.#eptPage[index] = o.eptPage;
    this.#hostPage[index] = o.hostPage;
    this.#permissions[index] = o.permissions;
  }

  flush(): void {
    this.#guestPage.fill(NONE);
  }
}
