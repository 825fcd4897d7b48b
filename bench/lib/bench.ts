/**
 * What a benchmark is: a name, the figures it reports, and a run. bench/run.ts calls it and prints; a bench never prints
 * on stdout itself. Every figure carries a checksum over the work's result, so that the work cannot be optimised away.
 */
export interface Figure {
  /** One of the module's `figures`, such as `samplesPerSecond`. */
  figure: string
  /** A median over rounds (lib/measure.ts). */
  value: number
  unit: string
  params: Record<string, unknown>
  checksum: string
}

export interface BenchModule {
  readonly name: string
  readonly figures: readonly string[]
  /** `smoke`: the smallest size that still runs every code path, in about a second. */
  run(options: { smoke: boolean }): Promise<readonly Figure[]>
}
