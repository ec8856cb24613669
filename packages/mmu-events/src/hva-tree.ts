import type { Hva } from '@nvmx/guest-memory';
import type { Memslot } from './memslot.ts';

interface TreeNode {
  readonly slot: Memslot;
  /** The largest end of a slot at or below this node. */
  readonly endMax: number;
  readonly priority: number;
  readonly left: Tree;
  readonly right: Tree;
}

type Tree = TreeNode | undefined;

/**
 * Memslots by host address: an immutable interval tree, since slots may overlap there. A treap whose priorities are
 * hashes of the slot ids, so that one set of slots has one shape. A change copies O(log n) nodes.
 */
export class HvaTree {
  static readonly empty = new HvaTree(undefined);
  readonly #root: Tree;

  private constructor(root: Tree) {
    this.#root = root;
  }

  /** The slots that have an address in [start, end), in order of their addresses. */
  overlapping(start: Hva, end: Hva): Memslot[] {
    const found: Memslot[] = [];
    collect(this.#root, { start, end, found });
    return found;
  }

  /** With `insert` in place of `remove`. */
  replace(o: { remove?: Memslot | undefined; insert?: Memslot | undefined }): HvaTree {
    let root = this.#root;
    if (o.remove !== undefined) root = removed(root, o.remove);
    if (o.insert !== undefined) root = inserted(root, o.insert);
    return new HvaTree(root);
  }
}

function collect(tree: Tree, o: { start: number; end: number; found: Memslot[] }): void {
  if (tree === undefined || tree.endMax <= o.start) return;
  collect(tree.left, o);
  if (tree.slot.hva >= o.end) return;
  if (tree.slot.endHva > o.start) o.found.push(tree.slot);
  collect(tree.right, o);
}

function inserted(tree: Tree, slot: Memslot): TreeNode {
  const priority = hash(slot.id);
  if (tree === undefined || priority > tree.priority) {
    const { left, right } = split(tree, slot);
    return node(slot, left, right);
  }
  if (isBefore(slot, tree.slot)) return node(tree.slot, inserted(tree.left, slot), tree.right);
  return node(tree.slot, tree.left, inserted(tree.right, slot));
}

function removed(tree: Tree, slot: Memslot): Tree {
  if (tree === undefined) return undefined;
  if (tree.slot.id === slot.id) return joined(tree.left, tree.right);
  if (isBefore(slot, tree.slot)) return node(tree.slot, removed(tree.left, slot), tree.right);
  return node(tree.slot, tree.left, removed(tree.right, slot));
}

/** The nodes before `slot`, and those after it. */
function split(tree: Tree, slot: Memslot): { left: Tree; right: Tree } {
  if (tree === undefined) return { left: undefined, right: undefined };
  if (isBefore(tree.slot, slot)) {
    const { left, right } = split(tree.right, slot);
    return { left: node(tree.slot, tree.left, left), right };
  }
  const { left, right } = split(tree.left, slot);
  return { left, right: node(tree.slot, right, tree.right) };
}

/** All of `left` lies before all of `right`. */
function joined(left: Tree, right: Tree): Tree {
  if (left === undefined) return right;
  if (right === undefined) return left;
  if (left.priority > right.priority) return node(left.slot, left.left, joined(left.right, right));
  return node(right.slot, joined(left, right.left), right.right);
}

function node(slot: Memslot, left: Tree, right: Tree): TreeNode {
  const endMax = Math.max(slot.endHva, left?.endMax ?? 0, right?.endMax ?? 0);
  return { slot, endMax, priority: hash(slot.id), left, right };
}

function isBefore(a: Memslot, b: Memslot): boolean {
  return a.hva < b.hva || (a.hva === b.hva && a.id < b.id);
}

/** A permutation of the 32-bit integers: equal priorities need equal ids. */
function hash(id: number): number {
  let bits = Math.imul(id + 1, 0x9e3779b1);
  bits = Math.imul(bits ^ (bits >>> 15), 0x85ebca6b);
  return (bits ^ (bits >>> 13)) >>> 0;
}
