import { describe, expect, it } from 'vitest'
import { fewestAccumulators } from './row-layout.ts'

describe('the accumulators of a row', () => {
  const count = ['tally', 'moments', 'rate']
  const mean = ['tally', 'moments']
  const min = ['moments']

  it('are as few as serve every aggregate', () => {
    expect(fewestAccumulators([count, mean, min])).toEqual(['moments'])
    expect(fewestAccumulators([['last'], count, min])).toEqual(['last', 'moments'])
    expect(fewestAccumulators([count, ['rate']])).toEqual(['rate'])
  })

  it('are the cheapest among as few', () => {
    expect(fewestAccumulators([count])).toEqual(['tally'])
    expect(fewestAccumulators([count, mean])).toEqual(['tally'])
  })

  it('are the same in whatever order the aggregates are written', () => {
    expect(fewestAccumulators([min, ['rate'], ['last']])).toEqual(
      fewestAccumulators([['last'], min, ['rate']]),
    )
  })
})
