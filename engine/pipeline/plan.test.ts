import { describe, expect, test } from 'vitest'
import { DEFINITION } from '../contract/definition.ts'
import { describeFault } from '../contract/errors.ts'
import { not, pipeline, topic } from './builder.ts'
import { compilePipelines, compilePlan } from './plan.ts'
import { aggregate, bound, quiet, sink, testRegistry, tumbling } from './test-registry.ts'

const base = pipeline('p').from(topic('metrics'))
const whole = base.window(tumbling('1m'), { mean: aggregate('mean') })

function faults(definition: unknown): string[] {
  return compilePlan(definition, testRegistry, '').faults.map(describeFault)
}

describe('a sound pipeline', () => {
  test('compiles to plain data with every default filled in', () => {
    const definition = pipeline('checkout')
      .from(topic('metrics', { partitionBy: ['name', 'instance'] }))
      .where({
        name: 'http',
        job: ['b', 'a', 'b'],
        path: /\/v1.*/,
        host: not(['x.y', 'z']),
        zone: not('q'),
        a: ['one'],
      })
      .where({ b: not(/c+/) })
      .groupBy('instance')
      .window(tumbling('1m'), { mean: aggregate('mean'), n: aggregate('count') })
      .detect('mean', bound({ above: 3 }), { hold: '30s' })
      .detect(quiet({ after: '1m' }), { name: 'gone' })
      .to(sink('print'))
      .to(sink('print'), { of: 'results', name: 'all' })
    const { plan, faults } = compilePlan(definition, testRegistry, 'a.ts')
    expect(faults).toEqual([])
    expect(plan).toEqual({
      plan: 1,
      name: 'checkout',
      topic: { name: 'metrics', partitions: 16, partitionBy: ['__name__', 'instance'] },
      where: [
        { label: '__name__', op: '=', value: 'http' },
        { label: 'job', op: 'in', value: ['a', 'b'] },
        { label: 'path', op: '=~', value: '\\/v1.*' },
        { label: 'host', op: '!~', value: 'x\\.y|z' },
        { label: 'zone', op: '!=', value: 'q' },
        { label: 'a', op: '=', value: 'one' },
        { label: 'b', op: '!~', value: 'c+' },
      ],
      groupBy: ['instance'],
      disorderMs: 5_000,
      idleMs: 15_000,
      window: {
        kind: 'tumbling',
        options: { sizeMs: 60_000 },
        sizeMs: 60_000,
        everyMs: 60_000,
        sliceMs: 60_000,
      },
      aggregates: [
        { name: 'mean', kind: 'mean', options: {} },
        { name: 'n', kind: 'count', options: {} },
      ],
      detectors: [
        { name: 'mean-bound', kind: 'bound', column: 'mean', options: { above: 3 }, holdMs: 30_000 },
        { name: 'gone', kind: 'quiet', column: null, options: { afterMs: 60_000 }, holdMs: 0 },
      ],
      sinks: [
        { name: 'print', kind: 'print', options: {}, feed: 'alerts' },
        { name: 'all', kind: 'print', options: {}, feed: 'results' },
      ],
    })
    expect(JSON.parse(JSON.stringify(plan))).toEqual(plan)
  })

  test('without a detector, a sink gets results', () => {
    expect(compilePlan(whole.to(sink('print')), testRegistry, '').plan?.sinks[0]?.feed).toBe('results')
  })

  test('an immutable builder: branches do not see each other', () => {
    const left = whole.detect('mean', bound({ above: 1 }))
    const right = whole.detect('mean', bound({ above: 2 }))
    expect(compilePlan(left, testRegistry, '').plan?.detectors).toHaveLength(1)
    expect(compilePlan(right, testRegistry, '').plan?.detectors[0]?.options).toEqual({ above: 2 })
    expect(compilePlan(whole, testRegistry, '').plan?.detectors).toEqual([])
  })

  test('made by another copy of the package is understood: only the registered symbol counts', () => {
    const foreign = { [Symbol.for('millrace.definition')]: { ...whole[DEFINITION] } }
    expect(compilePlan(foreign, testRegistry, '').plan).toEqual(compilePlan(whole, testRegistry, '').plan)
  })

  test('a node may have another default for partitions', () => {
    expect(compilePlan(whole, testRegistry, '', { partitions: 4 }).plan?.topic.partitions).toBe(4)
  })
})

describe('every fault is named, with place, value and remedy', () => {
  test('all at once, each where it was written', () => {
    const definition = pipeline('p')
      .from(topic('a b', { partitions: 2_000, partitionBy: ['x', 'x'] }))
      .where({ '': 'a', host: /a/i, job: [] as string[] })
      .groupBy(' host')
      .disorder('5x')
      .idle('1ms')
      .window(tumbling('soon'), { 'p 99': aggregate('mean'), m: aggregate('meen'), M: aggregate('mean') })
      .detect('n' as never, bound({ abov: 1 }), { hold: '8d' })
      .detect(quiet({ after: '1m' }), { name: 'a/b' })
      .to(sink('prind'), { of: 'alert' as never })
    const { plan, faults } = compilePlan(definition, testRegistry, 'pipeline.ts')
    expect(plan).toBeNull()
    expect(faults.map(describeFault)).toMatchInlineSnapshot(`
      [
        "pipeline.ts: p.topic.name: is not a name (got "a b"). Write 1 to 100 letters, digits, "_", "-" and ".", not starting with "-" or ".".",
        "pipeline.ts: p.topic.partitions: is not a count of partitions (got 2000). Write a whole number from 1 to 1024; it is fixed when the topic is made.",
        "pipeline.ts: p.topic.partitionBy: is named twice (got "x"). Name each label once.",
        "pipeline.ts: p.where.: is an empty label name (got ""). Write a label name such as "instance"; "name" means the metric's name.",
        "pipeline.ts: p.where.host: has flags, which a plan does not keep (got "/a/i"). Write /a/ without flags; for either case, write classes such as [aA].",
        "pipeline.ts: p.where.job: is not a condition (got []). Write a text, a list of texts (one of them), a regular expression (of the whole value), or not(…) of one of these.",
        "pipeline.ts: p.groupBy: starts or ends with white space (got " host"). Write a label name such as "instance"; "name" means the metric's name.",
        "pipeline.ts: p.window.size: is not a duration (got "soon"). Write a duration such as "500ms", "5s", "1h30m" or "7d", or a number of milliseconds.",
        "pipeline.ts: p.window.p 99: is not a column name (got "p 99"). Write 1 to 64 letters, digits and "_", not starting with a digit.",
        "pipeline.ts: p.window.m: is no known aggregate (got "meen"). Did you mean "mean"? Known: count, mean.",
        "pipeline.ts: p.window.M: is named twice (got "M"). Name each aggregate differently.",
        "pipeline.ts: p.detect(n-bound).hold: is longer than 7d (got "8d"). Write a duration such as "500ms", "5s", "1h30m" or "7d", or a number of milliseconds.",
        "pipeline.ts: p.detect(n-bound): is not an aggregate of the window (got "n"). Did you mean "M"? Known: M, m, p 99.",
        "pipeline.ts: p.detect(n-bound).abov: is no known option (got 1). Did you mean "above"? Known: above.",
        "pipeline.ts: p.detect(n-bound).above: is missing (got nothing). Write a number: bound.",
        "pipeline.ts: p.detect(a/b): is not a name (got "a/b"). Write 1 to 100 letters, digits, "_", "-" and ".", not starting with "-" or ".".",
        "pipeline.ts: p.to(prind).of: is nothing a sink can get (got "alert"). Write one of alerts, results, late.",
        "pipeline.ts: p.to(prind): is no known sink (got "prind"). Did you mean "print"? Known: print, topic.",
        "pipeline.ts: p.disorder: is not a duration (got "5x"). Write a duration such as "500ms", "5s", "1h30m" or "7d", or a number of milliseconds.",
        "pipeline.ts: p.idle: is shorter than 100ms (got "1ms"). Write a duration such as "500ms", "5s", "1h30m" or "7d", or a number of milliseconds.",
      ]
    `)
  })

  test('what is missing', () => {
    expect(faults(pipeline('p'))).toMatchInlineSnapshot(`
      [
        "p.from: is missing (got nothing). Write .from(topic("metrics")).",
        "p.window: is missing (got nothing). Write .window(tumbling("1m"), { mean: mean() }).",
      ]
    `)
    expect(faults(base.window(tumbling('1m'), {}))).toMatchInlineSnapshot(`
      [
        "p.window: has no aggregates (got {}). Write an object of aggregates by name, such as { latency: mean(), n: count() }.",
      ]
    `)
  })

  test('a missing window is not blamed on detectors', () => {
    expect(faults(base.detect('mean' as never, bound({ above: 1 })))).toEqual([
      'p.window: is missing (got nothing). Write .window(tumbling("1m"), { mean: mean() }).',
    ])
  })

  test('duplicate names of detectors and sinks', () => {
    const twice = whole.detect('mean', bound({ above: 1 })).detect('mean', bound({ above: 2 }))
    expect(faults(twice.to(sink('print')).to(sink('print')))).toEqual([
      'p.detect(mean-bound): is named twice (got "mean-bound"). Name them: .detect(…, { name: "…" }).',
      'p.to(print): is named twice (got "print"). Name them: .to(…, { name: "…" }).',
    ])
  })

  test('a detector of the wrong subject', () => {
    expect(faults(whole.detect('mean', quiet({ after: 1 }) as never))[0]).toMatch(
      /judges whether samples come/,
    )
    expect(faults(whole.detect(bound({ above: 1 }) as never))[0]).toMatch(
      /judges a column, and none is named/,
    )
  })

  test('alerts without a detector', () => {
    expect(faults(whole.to(sink('print'), { of: 'alerts' }))[0]).toMatch(
      /will never come: there is no detector/,
    )
  })

  test('from and window twice', () => {
    expect(
      faults(whole.from(topic('b')).window(tumbling('1m'), { n: aggregate('count') })).map((f) =>
        f.slice(0, 40),
      ),
    ).toEqual(['p.from: is called more than once (got 2)', 'p.window: is called more than once (got '])
  })

  test.each([[undefined], [null], [{}], ['pipeline'], [tumbling('1m')], [() => whole]])(
    '%o is not a pipeline',
    (value) => {
      expect(faults(value)).toHaveLength(1)
      expect(faults(value)[0]).toMatch(/is not a pipeline/)
    },
  )

  test.each([
    ['a topic', base.from({} as never)],
    ['a window', base.window({} as never, { n: aggregate('count') })],
    ['an aggregate', base.window(tumbling('1m'), { n: {} as never })],
    ['aggregates', base.window(tumbling('1m'), null as never)],
    ['a detector', whole.detect('mean', {} as never)],
    ['a sink', whole.to({} as never)],
    [
      'an unknown detector',
      whole.detect('mean', {
        [DEFINITION]: { what: 'detector', kind: 'bounds', subject: 'value', options: {} },
      }),
    ],
    ['a list of labels', base.from(topic('t', { partitionBy: 'host' as never }))],
    ['labels', base.from(topic('t', { partitionBy: [] }))],
    ['an object of options', whole.detect('mean', bound(5))],
  ])('nonsense in the place of %s is a fault, not a throw', (_, definition) => {
    expect(faults(definition).length).toBeGreaterThan(0)
  })

  test('too many parts', () => {
    const many = Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`a${i}`, aggregate('mean')]))
    expect(faults(base.window(tumbling('1m'), many))).toEqual([
      'p.window: are too many (got 65). At most 64; split the pipeline.',
    ])
  })
})

describe('several pipelines', () => {
  const other = (name: string, options = {}) =>
    pipeline(name)
      .from(topic('metrics', options))
      .window(tumbling('1m'), { n: aggregate('count') })
  const all = (definitions: unknown) => compilePipelines(definitions, testRegistry, '')

  test('one, or an array of them', () => {
    expect(all(whole).plans.map((plan) => plan.name)).toEqual(['p'])
    expect(all([whole, other('q')]).plans.map((plan) => plan.name)).toEqual(['p', 'q'])
  })

  test('none is a fault', () => {
    expect(all([]).faults[0]?.problem).toBe('holds no pipeline')
  })

  test('duplicate names are refused', () => {
    expect(all([whole, other('p')]).faults.map((fault) => fault.problem)).toEqual(['names two pipelines'])
  })

  test('contradictory declarations of one topic are refused', () => {
    const { plans, faults } = all([whole, other('q', { partitions: 4 }), other('r', { partitionBy: ['a'] })])
    expect(plans).toEqual([])
    expect(faults.map((fault) => fault.place)).toEqual(['q.topic', 'r.topic'])
  })

  test('a cycle of topics is refused, with the way around it', () => {
    const chain = (name: string, from: string, to: string) =>
      pipeline(name)
        .from(topic(from))
        .window(tumbling('1m'), { n: aggregate('count') })
        .to(sink('topic', { topic: to }))
    expect(all([chain('p', 'a', 'b'), chain('q', 'b', 'c')]).faults).toEqual([])
    expect(all([chain('p', 'a', 'b'), chain('q', 'b', 'a')]).faults.map((fault) => fault.value)).toEqual([
      'a → (p) → b → (q) → a',
    ])
  })

  test('faults of all pipelines come together', () => {
    expect(all([pipeline('a'), pipeline('b')]).faults.length).toBe(4)
  })
})
