/**
 * Time that processes and threads of this machine share: node's hrtime reads the system's monotonic clock, which counts
 * from boot and never steps. performance.now() counts from the start of its thread, and timeOrigin is wall-clock time.
 */
export function sharedMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}
