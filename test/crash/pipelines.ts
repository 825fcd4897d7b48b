/** The pipelines under test: every kind of window feed, sink and decision that depends on log time. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { SinkFeed } from '../../engine/contract/plugins.ts'
import { DIST } from './places.ts'

const PACKAGE = join(DIST, 'index.js')

export interface FileTarget {
  readonly pipeline: string
  readonly feed: SinkFeed
  readonly name: string
}

/** Files that the pipelines write, and paths that they post to. */
export const FILES: readonly FileTarget[] = [
  { pipeline: 'rolling', feed: 'results', name: 'rolling.ndjson' },
  { pipeline: 'rolling', feed: 'alerts', name: 'hot.ndjson' },
  { pipeline: 'rolling', feed: 'late', name: 'late.ndjson' },
  { pipeline: 'totals', feed: 'results', name: 'totals.ndjson' },
  { pipeline: 'totals', feed: 'late', name: 'totals-late.ndjson' },
]
export const POSTS: readonly FileTarget[] = [
  { pipeline: 'rolling', feed: 'alerts', name: 'hot' },
  { pipeline: 'totals', feed: 'results', name: 'totals' },
  { pipeline: 'totals', feed: 'alerts', name: 'gone' },
]

/** Writes the module; files go to `dir`, posts to paths below `url`. */
export function writePipelines(dir: string, url: string): string {
  const sink = (target: FileTarget, choice: string): string =>
    `.to(${choice}, { name: ${JSON.stringify(target.name)}, of: '${target.feed}' })`
  const sinksOf = (pipeline: string): string =>
    [
      ...FILES.filter((file) => file.pipeline === pipeline).map((file) =>
        sink(file, `ndjsonFile({ path: ${JSON.stringify(join(dir, file.name))} })`),
      ),
      ...POSTS.filter((post) => post.pipeline === pipeline).map((post) =>
        sink(post, `webhook({ url: '${url}/${post.name}', batch: ${post.feed === 'results' ? 7 : 1} })`),
      ),
    ].join('\n  ')
  const file = join(dir, 'pipelines.mjs')
  writeFileSync(
    file,
    `import { count, ewma, max, mean, min, ndjsonFile, pipeline, silence, sliding, standardDeviation, sum, threshold,
  topic, tumbling, webhook } from ${JSON.stringify(PACKAGE)}

const load = topic('metrics', { partitions: 4, partitionBy: ['host'] })
export default [
  pipeline('rolling').from(load).where({ name: 'load' }).groupBy('host').disorder('1s').idle('1s')
  .window(sliding({ size: '2s', every: '1s' }), { mean: mean(), n: count(), low: min(), high: max() })
  .detect('mean', threshold({ above: 80, clear: 60 }), { name: 'hot' })
  .detect('mean', ewma({ threshold: 4, history: '20s' }), { name: 'unusual', hold: '1s' })
  ${sinksOf('rolling')},
  pipeline('totals').from(load).where({ name: 'load' }).groupBy('host').disorder('1s').idle('1s')
  .window(tumbling('2s'), { total: sum(), spread: standardDeviation() })
  .detect(silence({ after: '700ms' }), { name: 'gone' })
  ${sinksOf('totals')},
]
`,
  )
  return file
}
