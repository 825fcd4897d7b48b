/** What the detectors say: how many alerts, of which pipelines, how often, and whether anything keeps them from speaking. */
import type { DashboardBuilder } from '@grafana/grafana-foundation-sdk/dashboard'
import { RowBuilder } from '@grafana/grafana-foundation-sdk/dashboard'
import {
  ALERTS_WITHHELD,
  DERIVED,
  DETECTOR_SERIES,
  PIPELINE_ALERTS,
  PIPELINE_ALERTS_FIRING,
  PIPELINE_GROUPS,
  PIPELINE_LAG,
  PIPELINE_RESULTS,
  PIPELINE_SAMPLES,
  SILENCES_ACTIVE,
  SINK_DEAD,
  SINK_LAG,
} from '../../engine/metrics/catalog.ts'
import { rate, series, sumBy } from '../promql.ts'
import { band, choice, curves, dashboard, stat } from './panels.ts'
import { OF_PIPELINE } from './pipeline.ts'

const where = OF_PIPELINE
const increase = (range: string, state: string): string =>
  `increase(${series(PIPELINE_ALERTS, `${where},state="${state}"`)}[${range}])`

/** Of the one series whose score is the highest at each moment. */
function ofTheWorst(metric: { readonly name: string }): string {
  const labels = 'job, instance, pipeline, detector, series'
  return `${series(metric, where)} and on (${labels}) topk(1, ${series(DERIVED.seriesScore, where)})`
}

export function detection(): DashboardBuilder {
  return dashboard('millrace-detection', 'Detection', 'Alerts: how many, of which pipelines, how often.')
    .withVariable(choice('pipeline', 'Pipeline', `label_values(${series(PIPELINE_LAG)}, pipeline)`))
    .withRow(new RowBuilder('At a glance'))
    .withPanel(
      stat({
        title: 'Firing now',
        about: 'Alerts that fire now.',
        unit: 'short',
        limits: { warn: 1, act: 10 },
        queries: [{ expr: sumBy('', series(PIPELINE_ALERTS_FIRING, where)), legend: 'firing' }],
      }),
    )
    .withPanel(
      stat({
        title: 'Fired, 24 h',
        about: 'Alerts that began to fire in the last 24 hours.',
        unit: 'short',
        queries: [{ expr: `sum(${increase('24h', 'firing')})`, legend: 'fired' }],
      }),
    )
    .withPanel(
      stat({
        title: 'Resolved, 24 h',
        about: 'Alerts that ended in the last 24 hours.',
        unit: 'short',
        queries: [{ expr: `sum(${increase('24h', 'resolved')})`, legend: 'resolved' }],
      }),
    )
    .withPanel(
      stat({
        title: 'Alarms a group and day',
        about: 'Alerts that began to fire in the last 24 hours, a group. People stop reading at a few a day.',
        unit: 'short',
        limits: { warn: 0.5, act: 2 },
        queries: [
          {
            expr: `sum(${increase('24h', 'firing')}) / sum(${series(PIPELINE_GROUPS, where)})`,
            legend: 'alarms',
          },
        ],
      }),
    )
    .withPanel(
      stat({
        title: 'Values judged',
        about: 'Window results a second: what the detectors see.',
        unit: 'short',
        queries: [{ expr: sumBy('', rate(PIPELINE_RESULTS, { where })), legend: 'results/s' }],
      }),
    )
    .withPanel(
      stat({
        title: 'Notices waiting',
        about:
          'Committed entries that no sink has delivered yet: nobody has been told of the alerts among them.',
        unit: 'short',
        limits: { warn: 1_000, act: 100_000 },
        queries: [{ expr: sumBy('', series(SINK_LAG, where)), legend: 'entries' }],
      }),
    )
    .withRow(new RowBuilder('Alerts'))
    .withPanel(
      curves({
        title: 'Firing',
        about: 'Alerts that fire, by pipeline.',
        unit: 'short',
        stacked: true,
        queries: [{ expr: sumBy('pipeline', series(PIPELINE_ALERTS_FIRING, where)), legend: '{{pipeline}}' }],
      }),
    )
    .withPanel(
      curves({
        title: 'Changes of state',
        about:
          'Alerts that came to be pending, firing, resolved, in five minutes. Many pending, few firing: the hold time does its work.',
        unit: 'short',
        queries: [
          { expr: sumBy('state', `increase(${series(PIPELINE_ALERTS, where)}[5m])`), legend: '{{state}}' },
        ],
      }),
    )
    .withPanel(
      curves({
        title: 'Flapping',
        about:
          'Alerts that began to fire in the last hour, for each that fires now. High: raise the hold time or the hysteresis.',
        unit: 'short',
        queries: [
          {
            expr: `${sumBy('pipeline', increase('1h', 'firing'))} / clamp_min(${sumBy('pipeline', series(PIPELINE_ALERTS_FIRING, where))}, 1)`,
            legend: '{{pipeline}}',
          },
        ],
      }),
    )
    .withPanel(
      curves({
        title: 'Silences',
        about:
          'Silences that hold, and alerts that stand while nobody is told because of one. Withheld for days: the silence hides something.',
        unit: 'short',
        queries: [
          { expr: sumBy('', series(SILENCES_ACTIVE)), legend: 'silences' },
          { expr: sumBy('', series(ALERTS_WITHHELD)), legend: 'alerts withheld' },
        ],
      }),
    )
    .withPanel(
      curves({
        title: 'Alarms a group and day',
        about: 'Alerts that began to fire in the day before, a group, by pipeline.',
        unit: 'short',
        queries: [
          {
            expr: `${sumBy('pipeline', increase('24h', 'firing'))} / ${sumBy('pipeline', series(PIPELINE_GROUPS, where))}`,
            legend: '{{pipeline}}',
          },
        ],
      }),
    )
    .withRow(new RowBuilder('Series with the highest scores (start the node with --score-series 200)'))
    .withPanel(
      curves({
        title: 'Score',
        about:
          'The ten highest scores: 0 is the expected value, 1 the edge of the band, above it anomalous. Empty unless the node has `scoreSeries`.',
        unit: 'short',
        limits: { warn: 1, act: 5 },
        queries: [
          {
            expr: `topk(10, ${series(DERIVED.seriesScore, where)})`,
            legend: '{{pipeline}} {{detector}} {{series}}',
          },
        ],
      }),
    )
    .withPanel(
      band({
        title: 'Value and band',
        about:
          'The series with the highest score now: its value, what its detector expected, and the band between the edges.',
        queries: {
          value: ofTheWorst(DERIVED.seriesValue),
          expected: ofTheWorst(DERIVED.seriesExpected),
          lower: ofTheWorst(DERIVED.seriesLower),
          upper: ofTheWorst(DERIVED.seriesUpper),
        },
      }),
    )
    .withPanel(
      stat({
        title: 'Series without a curve here',
        about:
          'Series of the newest windows whose scores are lower than those shown. Raise `scoreSeries` to see more.',
        unit: 'short',
        queries: [{ expr: sumBy('', series(DERIVED.seriesLeftOut)), legend: 'series' }],
      }),
    )
    .withRow(new RowBuilder('What keeps detectors from speaking'))
    .withPanel(
      curves({
        title: 'Lag, event time',
        about: 'An alert is never sooner than this: how far the smallest watermark is behind the clock.',
        unit: 's',
        queries: [
          { expr: `max by (pipeline) (${series(DERIVED.watermarkLag, where)})`, legend: '{{pipeline}}' },
        ],
      }),
    )
    .withPanel(
      curves({
        title: 'Series by health of their detector',
        about:
          'Groups by how detectors do for them. Warming: not judged yet. Starved: too few values. Saturated: fires most of the time, raise the threshold. Blind: could not alarm whatever came.',
        unit: 'short',
        stacked: true,
        queries: [{ expr: sumBy('health', series(DETECTOR_SERIES, where)), legend: '{{health}}' }],
      }),
    )
    .withPanel(
      curves({
        title: 'Detectors that do not do their work',
        about: 'Groups for which a detector is blind, saturated or starved, by detector.',
        unit: 'short',
        queries: [
          {
            expr: sumBy(
              'pipeline, detector, health',
              series(DETECTOR_SERIES, `${where},health=~"blind|saturated|starved"`),
            ),
            legend: '{{pipeline}} {{detector}} {{health}}',
          },
        ],
      }),
    )
    .withPanel(
      curves({
        title: 'Samples that no window saw',
        about: 'Late, not finite, or in dead letters: the detectors know nothing of them.',
        unit: 'short',
        queries: [
          {
            expr: sumBy(
              'pipeline, fate',
              rate(PIPELINE_SAMPLES, { where: `${where},fate=~"late|non_finite|dead"` }),
            ),
            legend: '{{pipeline}} {{fate}}',
          },
        ],
      }),
    )
    .withPanel(
      curves({
        title: 'Notices refused for good',
        about: 'Records that a target refused: skipped and logged. Look at the target’s answer in the log.',
        unit: 'short',
        queries: [
          { expr: sumBy('pipeline, sink', rate(SINK_DEAD, { where })), legend: '{{pipeline}} {{sink}}' },
        ],
      }),
    )
}
