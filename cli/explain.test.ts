import { expect, test } from 'vitest'
import { aligned } from './explain.ts'

test('names, values and meanings stand in columns; below a long value its meaning', () => {
  const long = 'in use, ± 2.876; 168 of 168 hours of the week known'
  expect(
    aligned([
      ['health', 'ok', ''],
      ['view activity', 'from 2 on', 'moves more'],
      ['season', long, 'of the week'],
      ['rest', long, ''],
    ]),
  ).toEqual([
    '  health         ok',
    '  view activity  from 2 on  moves more',
    `  season         ${long}`,
    '                            of the week',
    `  rest           ${long}`,
  ])
  expect(aligned([])).toEqual([])
})
