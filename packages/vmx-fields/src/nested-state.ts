/** One rule of KVM_SET_NESTED_STATE; rules apply in their order and the first whose condition holds decides. */
export interface SetNestedStateRule {
  readonly order: number;
  /** Who checks: the generic ioctl, or its VMX part. */
  readonly layer: string;
  readonly condition: string;
  /** An errno, or what happens. */
  readonly result: string;
}

/** What KVM_GET_NESTED_STATE writes; `bytes` is undefined where the size does not depend on the condition. */
export interface GetNestedStateRule {
  readonly condition: string;
  readonly bytes: number | undefined;
  readonly data: string;
}
