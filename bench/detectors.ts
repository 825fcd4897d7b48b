/**
 * What a detector costs: nanoseconds for one value of one group through the whole stage (score, alert, learn), over
 * 1,000 groups in turn as a fired window has them, and over 100 of those that take microseconds and a longer warm-up; for silence, for one arrival and the scan it belongs to.
 */

import type { Fault } from '../engine/contract/errors.ts'
import type { Detector, DetectorPlugin, PeersDetector, VectorDetector } from '../engine/contract/plugins.ts'
import { DetectionStage } from '../engine/pipeline/detection.ts'
import { Cells } from '../engine/state/cells.ts'
import { assert } from '../engine/util/assert.ts'
import { Prng } from '../engine/util/prng.ts'
import { autoPlugin } from '../operators/detectors/auto.ts'
import { changePointPlugin } from '../operators/detectors/change-point.ts'
import { contextMemoryPlugin } from '../operators/detectors/context-memory.ts'
import { cusumPlugin } from '../operators/detectors/cusum.ts'
import { discordPlugin } from '../operators/detectors/discord.ts'
import { ewmaPlugin } from '../operators/detectors/ewma.ts'
import { halfSpaceTreesPlugin } from '../operators/detectors/half-space-trees.ts'
import { holtWintersPlugin } from '../operators/detectors/holt-winters.ts'
import { hourOfWeekPlugin } from '../operators/detectors/hour-of-week.ts'
import { knnCadPlugin } from '../operators/detectors/knn-cad.ts'
import { madPlugin } from '../operators/detectors/mad.ts'
import { pageHinkleyPlugin } from '../operators/detectors/page-hinkley.ts'
import { pcaPlugin } from '../operators/detectors/pca.ts'
import { peersPlugin } from '../operators/detectors/peers.ts'
import { randomCutForestPlugin } from '../operators/detectors/random-cut-forest.ts'
import { rangeBreachPlugin } from '../operators/detectors/range-breach.ts'
import { rateOfChangePlugin } from '../operators/detectors/rate-of-change.ts'
import { relativeEntropyPlugin } from '../operators/detectors/relative-entropy.ts'
import { silencePlugin } from '../operators/detectors/silence.ts'
import { spotPlugin } from '../operators/detectors/spot.ts'
import { thresholdPlugin } from '../operators/detectors/threshold.ts'
import type { BenchModule, Figure } from './lib/bench.ts'
import { medianSeconds } from './lib/measure.ts'

const WINDOWS_A_LOOP = 100
const SEED = 1
/** Groups, and how many loops make the checksum: enough to warm up, and to find what is far out. */
const LIGHT = { rows: 1_000, checkedLoops: 3 }
const HEAVY = { rows: 100, checkedLoops: 10 }
const VALUES = 64_000
const COLUMNS = 8
const PEERS = 100
/** No group stops; a single far value is no new spread, and no change. */
const FINDS_NONE: readonly string[] = ['silence', 'relative-entropy', 'change-point']

export const bench: BenchModule = {
  name: 'detectors',
  figures: [
    'thresholdNsPerJudge',
    'ewmaNsPerJudge',
    'rangeBreachNsPerJudge',
    'silenceNsPerArrival',
    'autoNsPerJudge',
    'rateOfChangeNsPerJudge',
    'madNsPerJudge',
    'holtWintersNsPerJudge',
    'hourOfWeekNsPerJudge',
    'cusumNsPerJudge',
    'pageHinkleyNsPerJudge',
    'spotNsPerJudge',
    'relativeEntropyNsPerJudge',
    'knnCadNsPerJudge',
    'contextMemoryNsPerJudge',
    'changePointNsPerJudge',
    'discordNsPerJudge',
    'halfSpaceTreesNsPerJudge',
    'randomCutForestNsPerJudge',
    'pcaNsPerJudge',
    'peersNsPerJudge',
  ],
  async run({ smoke }): Promise<readonly Figure[]> {
    return [
      await judged('thresholdNsPerJudge', thresholdPlugin, { above: 130, clear: 120 }, smoke),
      await judged('ewmaNsPerJudge', ewmaPlugin, { history: '10m', warmUp: '30s' }, smoke),
      await judged('rangeBreachNsPerJudge', rangeBreachPlugin, { warmUp: '30s' }, smoke),
      await watched('silenceNsPerArrival', silencePlugin, {}, smoke),
      await judged('autoNsPerJudge', autoPlugin, {}, smoke, HEAVY),
      await judged('rateOfChangeNsPerJudge', rateOfChangePlugin, { by: 20, within: '1s' }, smoke),
      await judged('madNsPerJudge', madPlugin, {}, smoke),
      await judged('holtWintersNsPerJudge', holtWintersPlugin, { season: '1m', slots: 60 }, smoke),
      // A value an hour, so that its first week is over soon.
      await judged('hourOfWeekNsPerJudge', hourOfWeekPlugin, {}, smoke, LIGHT, 3_600_000),
      await judged('cusumNsPerJudge', cusumPlugin, { history: '10m', limit: 4 }, smoke),
      await judged(
        'pageHinkleyNsPerJudge',
        pageHinkleyPlugin,
        { tolerance: 1, limit: 4, warmUp: '30s' },
        smoke,
      ),
      await judged('spotNsPerJudge', spotPlugin, {}, smoke, HEAVY),
      await judged('relativeEntropyNsPerJudge', relativeEntropyPlugin, {}, smoke, HEAVY),
      await judged('knnCadNsPerJudge', knnCadPlugin, {}, smoke, HEAVY),
      await judged('contextMemoryNsPerJudge', contextMemoryPlugin, {}, smoke, HEAVY),
      await judged('changePointNsPerJudge', changePointPlugin, {}, smoke, HEAVY),
      await judged('discordNsPerJudge', discordPlugin, {}, smoke, HEAVY),
      await judged('halfSpaceTreesNsPerJudge', halfSpaceTreesPlugin, {}, smoke, HEAVY),
      await judged('randomCutForestNsPerJudge', randomCutForestPlugin, {}, smoke, HEAVY),
      await together('pcaNsPerJudge', smoke),
      await amongPeers('peersNsPerJudge', smoke),
    ]
  },
}

async function judged<O>(
  figure: string,
  plugin: DetectorPlugin<O>,
  written: unknown,
  smoke: boolean,
  size: Size = LIGHT,
  everyMs = 1_000,
): Promise<Figure> {
  const tally = { alerts: 0, scores: 0 }
  const { stage, detector } = stageOf(plugin, written, tally, size)
  const { rows } = size
  // One value in ten thousand is far out, so that alerts begin and end.
  const prng = new Prng(SEED)
  const values = Float64Array.from(
    { length: VALUES },
    () => 100 + prng.normal() + (prng.below(10_000) === 0 ? 50 : 0),
  )
  let timeMs = 0
  let first = 0
  const loop = (): void => {
    for (let i = 0; i < WINDOWS_A_LOOP; i++) {
      timeMs += everyMs
      for (let row = 0; row < rows; row++) {
        const { score } = stage.judge(row, timeMs, values[first + row]!)
        if (score > 1) tally.scores++
      }
      first = (first + rows) % values.length
    }
  }
  return measured(figure, plugin.kind, detector.width, loop, tally, smoke, size)
}

/** pca() over COLUMNS columns that move together, for a row of them. */
async function together(figure: string, smoke: boolean): Promise<Figure> {
  const tally = { alerts: 0, scores: 0 }
  const columns = Array.from({ length: COLUMNS }, (_, i) => `c${i}`)
  const { stage, detector, cells } = stageOf(pcaPlugin, { warmUp: '2m' }, tally, HEAVY, columns)
  const vector = detector as VectorDetector
  const prng = new Prng(SEED)
  const common = Float64Array.from({ length: VALUES }, () => 10 * prng.normal())
  const own = Float64Array.from({ length: VALUES }, () => {
    return prng.normal() + (prng.below(10_000) === 0 ? 50 : 0)
  })
  let timeMs = 0
  let next = 0
  const loop = (): void => {
    for (let i = 0; i < WINDOWS_A_LOOP; i++) {
      timeMs += 1_000
      for (let row = 0; row < HEAVY.rows; row++) {
        const load = common[next % VALUES]!
        // Coprime with the step from row to row, so that far values come round to other groups.
        for (let c = 0; c < COLUMNS; c++)
          vector.values[c] = 100 + load + own[(next * COLUMNS + c) % (VALUES - 1)]!
        next++
        const statistic = vector.statistic(cells.data, stage.cellsAt(row), timeMs)
        if (stage.judge(row, timeMs, statistic).score > 1) tally.scores++
      }
    }
  }
  return measured(figure, 'pca', detector.width, loop, tally, smoke, HEAVY, { columns: COLUMNS })
}

/** peers() over sets of PEERS groups: a value's share of sorting its set is counted in. */
async function amongPeers(figure: string, smoke: boolean): Promise<Figure> {
  const tally = { alerts: 0, scores: 0 }
  const { stage, detector } = stageOf(peersPlugin, {}, tally, LIGHT)
  const peers = detector as PeersDetector
  const prng = new Prng(SEED)
  const values = Float64Array.from({ length: VALUES }, () => {
    return 100 + prng.normal() + (prng.below(10_000) === 0 ? 50 : 0)
  })
  let timeMs = 0
  let first = 0
  const loop = (): void => {
    for (let i = 0; i < WINDOWS_A_LOOP; i++) {
      timeMs += 1_000
      for (let from = 0; from < LIGHT.rows; from += PEERS) {
        peers.peers = values.slice(first, first + PEERS).sort()
        for (let row = from; row < from + PEERS; row++) {
          if (stage.judge(row, timeMs, values[first + row - from]!).score > 1) tally.scores++
        }
        first = (first + PEERS) % VALUES
      }
    }
  }
  return measured(figure, 'peers', detector.width, loop, tally, smoke, LIGHT, { peers: PEERS })
}

async function watched<O>(
  figure: string,
  plugin: DetectorPlugin<O>,
  written: unknown,
  smoke: boolean,
): Promise<Figure> {
  const tally = { alerts: 0, scores: 0 }
  const { stage, detector } = stageOf(plugin, written, tally, LIGHT)
  let logMs = 0
  const loop = (): void => {
    for (let i = 0; i < WINDOWS_A_LOOP; i++) {
      logMs += 1_000
      stage.scan(logMs)
      for (let row = 0; row < LIGHT.rows; row++) stage.arrived(row, logMs)
    }
    tally.scores = stage.deadlineMs - logMs
  }
  return measured(figure, plugin.kind, detector.width, loop, tally, smoke, LIGHT)
}

interface Size {
  readonly rows: number
  readonly checkedLoops: number
}

interface Tally {
  alerts: number
  scores: number
}

function stageOf<O>(
  plugin: DetectorPlugin<O>,
  written: unknown,
  tally: Tally,
  { rows }: Size,
  columns?: readonly string[],
): { stage: DetectionStage; detector: Detector; cells: Cells } {
  const faults: Fault[] = []
  const options = plugin.options.parse(written, plugin.kind, faults)
  assert(options !== undefined, 'the options of a bench are allowed', JSON.stringify(faults))
  const detector = plugin.create(options, columns)
  const cells = new Cells(plugin.kind)
  const column = plugin.subject === 'silence' ? null : (columns?.join('+') ?? 'value')
  const stage = new DetectionStage({
    plan: { name: plugin.kind, kind: plugin.kind, column, options, holdMs: 0 },
    detector,
    cells,
    emit: () => {
      tally.alerts++
    },
  })
  stage.ensureRows(rows)
  return { stage, detector, cells }
}

async function measured(
  figure: string,
  detector: string,
  cells: number,
  loop: () => void,
  tally: Tally,
  smoke: boolean,
  { rows, checkedLoops }: Size,
  more: Readonly<Record<string, number>> = {},
): Promise<Figure> {
  // What the first rounds find is the checksum: how often the timed loop runs depends on the machine.
  for (let i = 0; i < checkedLoops; i++) loop()
  const checksum = `${tally.alerts}:${tally.scores}`
  // The same values come round again, which makes far ones usual to a detector that judges by how often they come.
  assert(tally.alerts > 0 || FINDS_NONE.includes(detector), 'the loop found what there is to find', detector)
  const budget = smoke ? { iterations: 3, timeMs: 20 } : { iterations: 20, timeMs: 2_000 }
  const seconds = await medianSeconds(figure, loop, budget)
  return {
    figure,
    value: Number(((seconds * 1e9) / (WINDOWS_A_LOOP * rows)).toFixed(1)),
    unit: 'ns',
    params: { detector, groups: rows, cellsAGroup: cells, seed: SEED, ...more },
    checksum,
  }
}
