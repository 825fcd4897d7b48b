import { describe, expect, it } from 'vitest'
import { BLOCK_CELLS, CATALOG, DERIVED } from './catalog.ts'

describe('the metric catalogue', () => {
  const all = [...CATALOG, ...Object.values(DERIVED)]

  it('names every metric once, in Prometheus’ form, with help that is a sentence', () => {
    expect(new Set(all.map(({ name }) => name)).size).toBe(all.length)
    for (const { name, help } of all) {
      expect(name).toMatch(/^millrace_[a-z]+(_[a-z]+)*$/)
      expect(help).toMatch(/^[A-Z0-9].*\.$/)
    }
  })

  it('ends counters, and only counters, in _total', () => {
    for (const { name, type } of CATALOG) expect(name.endsWith('_total'), name).toBe(type === 'counter')
  })

  it('counts durations in seconds', () => {
    for (const { name, type } of CATALOG) {
      if (type === 'histogram') expect(name).toMatch(/_seconds$/)
      expect(name).not.toMatch(/_(ms|millis|micros|kb|mb|kib|mib)(_|$)/)
    }
  })

  it('gives every metric cells of its own', () => {
    let next = 0
    for (const { at, cellCount } of CATALOG) {
      expect(at).toBe(next)
      next += cellCount
    }
    expect(next).toBe(BLOCK_CELLS)
  })

  it('gives label values once, as words', () => {
    for (const { label, values } of CATALOG) {
      expect(new Set(values).size).toBe(values.length)
      if (label !== null) for (const value of values) expect(value).toMatch(/^[a-z0-9_]+$/)
    }
  })
})
