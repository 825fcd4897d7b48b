import { describe, expectTypeOf, test } from 'vitest'
import { not, type Pipeline, pipeline, topic } from './builder.ts'
import { aggregate, bound, quiet, sink, tumbling } from './test-registry.ts'

describe('the builder is fully typed', () => {
  const start = pipeline('p').from(topic('t'))
  const windowed = start.window(tumbling('1m'), { mean: aggregate('mean'), n: aggregate('count') })

  test('detect knows the names of the aggregates', () => {
    expectTypeOf(windowed).toEqualTypeOf<Pipeline<'mean' | 'n'>>()
    expectTypeOf(windowed.detect).toBeCallableWith('mean', bound({}))
    expectTypeOf(windowed.detect).toBeCallableWith(quiet({}), { hold: '5s' })
    // @ts-expect-error: no such aggregate
    windowed.detect('maen', bound({}))
    // @ts-expect-error: no aggregates yet
    start.detect('mean', bound({}))
    // @ts-expect-error: silence judges no column
    windowed.detect('mean', quiet({}))
    // @ts-expect-error: a value detector needs one
    windowed.detect(bound({}))
    // @ts-expect-error: no such option
    windowed.detect('mean', bound({}), { holds: '5s' })
  })

  test('names survive the calls that follow', () => {
    expectTypeOf(windowed.groupBy('a').disorder(0).idle('1s').to(sink('print'))).toEqualTypeOf<
      Pipeline<'mean' | 'n'>
    >()
  })

  test('parts go where they belong', () => {
    // @ts-expect-error: an aggregate is no window
    start.window(aggregate('mean'), { mean: aggregate('mean') })
    // @ts-expect-error: a window is no aggregate
    start.window(tumbling('1m'), { mean: tumbling('1m') })
    // @ts-expect-error: a detector is no sink
    windowed.to(bound({}))
    // @ts-expect-error: a topic has a definition
    pipeline('p').from('t')
    // @ts-expect-error: numbers are no label values
    start.where({ code: 500 })
    expectTypeOf(start.where).toBeCallableWith({ a: 'x', b: ['y', 'z'], c: /d/, d: not(['e']) })
    // @ts-expect-error: late, alerts or results
    windowed.to(sink('print'), { of: 'everything' })
  })
})
