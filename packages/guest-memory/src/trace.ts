/** Takes events under the names of KVM's tracepoints. A package without a sink pays one branch for an event. */
export type TraceSink = (event: { name: string; [field: string]: unknown }) => void;
