import { describe, expect, test, vi } from 'vitest'
import { describeFault } from './engine/contract/errors.ts'
import { compilePipelines } from './engine/pipeline/plan.ts'
import * as millrace from './index.ts'
import { registry } from './operators/registry.ts'

// The examples import the package by its name, as users do; here that means the source beside this file.
vi.mock('millrace', () => import('./index.ts'))

async function compiled(file: string) {
  const module = (await import(file)) as { default: unknown }
  const { plans, faults } = compilePipelines(module.default, registry, file)
  expect(faults.map(describeFault)).toEqual([])
  return plans
}

describe('the public API', () => {
  test('has these names, and no others by accident', () => {
    expect(Object.keys(millrace).sort()).toEqual([
      'MillraceError',
      'abstain',
      'alertmanager',
      'auto',
      'bandReason',
      'changePoint',
      'contextMemory',
      'count',
      'cusum',
      'defineConfig',
      'defineDetector',
      'discord',
      'ewma',
      'halfSpaceTrees',
      'holtWinters',
      'hourOfWeek',
      'judgeBand',
      'knnCad',
      'last',
      'mad',
      'max',
      'mean',
      'min',
      'ndjsonFile',
      'not',
      'option',
      'pageHinkley',
      'pca',
      'peers',
      'pipeline',
      'randomCutForest',
      'rangeBreach',
      'rate',
      'rateOfChange',
      'relativeEntropy',
      'scoresTo',
      'silence',
      'sliding',
      'spot',
      'standardDeviation',
      'stdout',
      'sum',
      'threshold',
      'topic',
      'tumbling',
      'webhook',
    ])
  })

  test('every plug-in of the registry can be written in a pipeline', () => {
    const { pipeline, topic, tumbling, sliding } = millrace
    const { count, last, max, mean, min, rate, standardDeviation, sum } = millrace
    const {
      changePoint,
      contextMemory,
      cusum,
      discord,
      halfSpaceTrees,
      knnCad,
      holtWinters,
      hourOfWeek,
      mad,
      pageHinkley,
      randomCutForest,
      rateOfChange,
      relativeEntropy,
      spot,
    } = millrace
    const { auto, ewma, pca, peers, rangeBreach, silence, threshold } = millrace
    const { alertmanager, ndjsonFile, scoresTo, stdout, webhook } = millrace
    const aggregates = {
      a: count(),
      b: last(),
      c: max(),
      d: mean(),
      e: min(),
      f: rate(),
      g: standardDeviation(),
      h: sum(),
    }
    // Peers by series lie in one partition.
    const all = pipeline('all')
      .from(topic('metrics', { partitions: 1 }))
      .window(sliding({ size: '1m', every: '10s' }), aggregates)
      .detect('a', ewma())
      .detect('d', auto())
      .detect('b', rangeBreach())
      .detect(['a', 'b'], pca())
      .detect('a', peers())
      .detect('c', threshold({ above: 1 }))
      .detect('b', rateOfChange({ by: 1 }))
      .detect('c', mad())
      .detect('d', holtWinters())
      .detect('e', hourOfWeek())
      .detect('f', cusum())
      .detect('g', pageHinkley({ limit: 5, tolerance: 1 }))
      .detect('h', spot())
      .detect('h', relativeEntropy())
      .detect('g', knnCad())
      .detect('f', contextMemory())
      .detect('a', changePoint())
      .detect('b', discord())
      .detect('c', halfSpaceTrees())
      .detect('d', randomCutForest())
      .detect(silence())
      .to(ndjsonFile({ path: 'results.ndjson' }), { of: 'results' })
      .to(stdout())
      .to(webhook({ url: 'http://127.0.0.1:9999/' }))
      .to(alertmanager({ url: 'http://127.0.0.1:9093' }))
      .to(scoresTo({ url: 'http://127.0.0.1:8428', topic: 'scores' }), { of: 'results' })
    const other = pipeline('other')
      .from(topic('metrics', { partitions: 1 }))
      .window(tumbling('1m'), { n: count() })
    const { plans, faults } = compilePipelines([all, other], registry, '')
    expect(faults.map(describeFault)).toEqual([])
    const kinds = (parts: readonly { readonly kind: string }[]) => parts.map((part) => part.kind).sort()
    expect(kinds(plans.map((plan) => plan.window))).toEqual([...registry.windows.keys()].sort())
    expect(kinds(plans[0]!.aggregates)).toEqual([...registry.aggregates.keys()].sort())
    expect(kinds(plans[0]!.detectors)).toEqual([...registry.detectors.keys()].sort())
    expect(kinds(plans[0]!.sinks)).toEqual([...registry.sinks.keys()].sort())
  })
})

describe('the examples pass check', () => {
  test('checkout-latency', async () => {
    const [plan] = await compiled('./examples/checkout-latency.ts')
    expect(plan).toMatchObject({
      name: 'checkout-latency',
      topic: { name: 'requests', partitions: 16, partitionBy: ['instance'] },
      groupBy: ['instance'],
      window: { sizeMs: 60_000, everyMs: 5_000, sliceMs: 5_000 },
      detectors: [{ name: 'latency-ewma', column: 'latency', holdMs: 30_000 }],
    })
  })

  test('host: every metric of this machine is judged, within a second or so', async () => {
    const plans = await compiled('./examples/host.ts')
    const names = ['host-usage', 'host-load', 'host-traffic', 'host-alive', 'millrace-itself']
    expect(plans.map((plan) => plan.name)).toEqual(names)
    for (const plan of plans) {
      expect(plan.groupBy).toBeNull()
      expect(plan.disorderMs).toBeLessThanOrEqual(500)
      expect(plan.detectors.length).toBeGreaterThan(0)
    }
  })
})
