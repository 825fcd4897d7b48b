/**
 * Growable columns that a decoder fills for one request or one slice of a file. Series ids here are LOCAL ids of the
 * decoder's series table; the log writer maps them to log ids. One `push` a sample, no allocation but doubling.
 */
export class SampleBuilder {
  seriesIds: Int32Array
  timestampsMs: Float64Array
  values: Float64Array
  count = 0

  constructor(capacity = 1024) {
    this.seriesIds = new Int32Array(capacity)
    this.timestampsMs = new Float64Array(capacity)
    this.values = new Float64Array(capacity)
  }

  push(seriesId: number, timestampMs: number, value: number): void {
    const at = this.count
    if (at === this.seriesIds.length) this.#grow()
    this.seriesIds[at] = seriesId
    this.timestampsMs[at] = timestampMs
    this.values[at] = value
    this.count = at + 1
  }

  clear(): void {
    this.count = 0
  }

  #grow(): void {
    const capacity = this.seriesIds.length * 2
    const seriesIds = new Int32Array(capacity)
    seriesIds.set(this.seriesIds)
    this.seriesIds = seriesIds
    const timestampsMs = new Float64Array(capacity)
    timestampsMs.set(this.timestampsMs)
    this.timestampsMs = timestampsMs
    const values = new Float64Array(capacity)
    values.set(this.values)
    this.values = values
  }
}
