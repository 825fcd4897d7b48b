import { describe, expect, it } from 'vitest'
import { MillraceError } from '../contract/errors.ts'
import { Slices } from './slices.ts'

function filled(slices: Slices, slice: number, row: number): number {
  return slices.cells.data[slices.baseOf(slices.slotOf(slice)) + row * slices.stride]!
}

describe('slices', () => {
  it('keep their cells when rows outgrow their room', () => {
    const slices = new Slices(5, 2)
    slices.ensureRows(64)
    slices.dropBefore(103)
    for (let slice = 103; slice < 108; slice++) {
      const base = slices.touch(slice)
      for (let row = 0; row < 64; row++) slices.cells.data[base + row * 2] = slice * 1_000 + row
    }
    slices.ensureRows(300)
    for (let slice = 103; slice < 108; slice++) {
      for (let row = 0; row < 300; row++) {
        expect(filled(slices, slice, row)).toBe(row < 64 ? slice * 1_000 + row : 0)
      }
    }
  })

  it('give a dropped slot to a newer slice, empty', () => {
    const slices = new Slices(2, 1)
    slices.ensureRows(1)
    slices.dropBefore(-3)
    slices.cells.data[slices.touch(-3)] = 7
    expect([slices.oldest(), slices.newest()]).toEqual([-3, -3])
    slices.dropBefore(-2)
    expect(slices.oldest()).toBe(Infinity)
    expect(slices.cells.data[slices.touch(-1)]).toBe(0)
  })

  it('refuse more state than their limit, saying what to do', () => {
    const slices = new Slices(4_096, 16)
    expect(() => slices.ensureRows(5_000)).toThrow(MillraceError)
    expect(() => slices.ensureRows(5_000)).toThrow(/Group by fewer labels/)
  })

  it('hand out only pages that were written to', () => {
    const slices = new Slices(3, 8)
    slices.ensureRows(64)
    slices.dropBefore(0)
    slices.touch(0)
    slices.touch(2)
    const pages: number[] = []
    slices.markTouched()
    slices.cells.takeDirty((index) => pages.push(index))
    expect(pages).toEqual([0, 2])
    slices.touch(1)
    slices.markTouched()
    slices.cells.takeDirty((index) => pages.push(index))
    expect(pages).toEqual([0, 2, 1])
  })
})
