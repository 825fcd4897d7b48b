/**
 * The explicit list of all plug-ins. Adding one is its file, its test and its line here; nothing registers itself.
 * Handed to the engine as an argument, which therefore knows no plug-in by name.
 */
import type {
  Accumulator,
  AggregatePlugin,
  DetectorPlugin,
  Registry,
  SinkPlugin,
  WindowPlugin,
} from '../engine/contract/plugins.ts'
import { assert } from '../engine/util/assert.ts'
import { lastAccumulator } from './aggregates/accumulators/last.ts'
import { momentsAccumulator } from './aggregates/accumulators/moments.ts'
import { rateAccumulator } from './aggregates/accumulators/rate.ts'
import { tallyAccumulator } from './aggregates/accumulators/tally.ts'
import { countPlugin } from './aggregates/count.ts'
import { lastPlugin } from './aggregates/last.ts'
import { maxPlugin } from './aggregates/max.ts'
import { meanPlugin } from './aggregates/mean.ts'
import { minPlugin } from './aggregates/min.ts'
import { ratePlugin } from './aggregates/rate.ts'
import { standardDeviationPlugin } from './aggregates/standard-deviation.ts'
import { sumPlugin } from './aggregates/sum.ts'
import { autoPlugin } from './detectors/auto.ts'
import { changePointPlugin } from './detectors/change-point.ts'
import { contextMemoryPlugin } from './detectors/context-memory.ts'
import { cusumPlugin } from './detectors/cusum.ts'
import { discordPlugin } from './detectors/discord.ts'
import { ewmaPlugin } from './detectors/ewma.ts'
import { halfSpaceTreesPlugin } from './detectors/half-space-trees.ts'
import { holtWintersPlugin } from './detectors/holt-winters.ts'
import { hourOfWeekPlugin } from './detectors/hour-of-week.ts'
import { knnCadPlugin } from './detectors/knn-cad.ts'
import { madPlugin } from './detectors/mad.ts'
import { pageHinkleyPlugin } from './detectors/page-hinkley.ts'
import { pcaPlugin } from './detectors/pca.ts'
import { peersPlugin } from './detectors/peers.ts'
import { randomCutForestPlugin } from './detectors/random-cut-forest.ts'
import { rangeBreachPlugin } from './detectors/range-breach.ts'
import { rateOfChangePlugin } from './detectors/rate-of-change.ts'
import { relativeEntropyPlugin } from './detectors/relative-entropy.ts'
import { silencePlugin } from './detectors/silence.ts'
import { spotPlugin } from './detectors/spot.ts'
import { thresholdPlugin } from './detectors/threshold.ts'
import { alertmanagerPlugin } from './sinks/alertmanager.ts'
import { ndjsonFilePlugin } from './sinks/ndjson-file.ts'
import { scoresToPlugin } from './sinks/scores-to.ts'
import { stdoutPlugin } from './sinks/stdout.ts'
import { webhookPlugin } from './sinks/webhook.ts'
import { slidingPlugin } from './windows/sliding.ts'
import { tumblingPlugin } from './windows/tumbling.ts'

export const registry: Registry = {
  windows: byKind([window(tumblingPlugin), window(slidingPlugin)]),
  accumulators: byKind<Accumulator>([tallyAccumulator, momentsAccumulator, lastAccumulator, rateAccumulator]),
  aggregates: byKind([
    aggregate(countPlugin),
    aggregate(sumPlugin),
    aggregate(meanPlugin),
    aggregate(minPlugin),
    aggregate(maxPlugin),
    aggregate(standardDeviationPlugin),
    aggregate(ratePlugin),
    aggregate(lastPlugin),
  ]),
  detectors: byKind([
    detector(thresholdPlugin),
    detector(autoPlugin),
    detector(ewmaPlugin),
    detector(rangeBreachPlugin),
    detector(silencePlugin),
    detector(spotPlugin),
    detector(relativeEntropyPlugin),
    detector(knnCadPlugin),
    detector(contextMemoryPlugin),
    detector(rateOfChangePlugin),
    detector(pageHinkleyPlugin),
    detector(madPlugin),
    detector(hourOfWeekPlugin),
    detector(changePointPlugin),
    detector(discordPlugin),
    detector(halfSpaceTreesPlugin),
    detector(randomCutForestPlugin),
    detector(holtWintersPlugin),
    detector(cusumPlugin),
    detector(pcaPlugin),
    detector(peersPlugin),
  ]),
  sinks: byKind([
    sink(ndjsonFilePlugin),
    sink(stdoutPlugin),
    sink(webhookPlugin),
    sink(alertmanagerPlugin),
    sink(scoresToPlugin),
  ]),
}

function byKind<P extends { readonly kind: string }>(plugins: readonly P[]): ReadonlyMap<string, P> {
  const map = new Map(plugins.map((plugin) => [plugin.kind, plugin]))
  assert(map.size === plugins.length, 'every plug-in has a kind of its own')
  return map
}

// A plug-in's options are erased here: what its own spec parsed is all that ever reaches it again.
function window<O>(plugin: WindowPlugin<O>): WindowPlugin<never> {
  return plugin as unknown as WindowPlugin<never>
}
function aggregate<O>(plugin: AggregatePlugin<O>): AggregatePlugin<never> {
  return plugin as unknown as AggregatePlugin<never>
}
function detector<O>(plugin: DetectorPlugin<O>): DetectorPlugin<never> {
  return plugin as unknown as DetectorPlugin<never>
}
function sink<O>(plugin: SinkPlugin<O>): SinkPlugin<never> {
  return plugin as unknown as SinkPlugin<never>
}
