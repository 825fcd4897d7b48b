/**
 * The panels that the dashboards are made of. One look for all: a row of single numbers, then curves two abreast; units
 * are Grafana's (`s`, `bytes`, `short`); every panel says in its description what it shows and what to make of it.
 */
import {
  BigValueColorMode,
  GraphGradientMode,
  GraphThresholdsStyleConfigBuilder,
  GraphThresholdsStyleMode,
  LegendDisplayMode,
  LegendPlacement,
  ReduceDataOptionsBuilder,
  SortOrder,
  StackingConfigBuilder,
  StackingMode,
  TooltipDisplayMode,
  VisibilityMode,
  VizLegendOptionsBuilder,
  VizTooltipOptionsBuilder,
} from '@grafana/grafana-foundation-sdk/common'
import {
  DashboardBuilder,
  DashboardCursorSync,
  DashboardLinkBuilder,
  DashboardLinkType,
  DatasourceVariableBuilder,
  QueryVariableBuilder,
  ThresholdsConfigBuilder,
  ThresholdsMode,
  VariableHide,
  VariableRefresh,
  VariableSort,
} from '@grafana/grafana-foundation-sdk/dashboard'
import { DataqueryBuilder } from '@grafana/grafana-foundation-sdk/prometheus'
import { PanelBuilder as StatBuilder } from '@grafana/grafana-foundation-sdk/stat'
import { PanelBuilder as TimeseriesBuilder } from '@grafana/grafana-foundation-sdk/timeseries'
import { DERIVED } from '../../engine/metrics/catalog.ts'

/** Everything the dashboards show comes from the Prometheus that the variable of this name chooses. */
// biome-ignore lint/suspicious/noTemplateCurlyInString: Grafana replaces it.
const DATASOURCE = { type: 'prometheus', uid: '${datasource}' }
const GREEN = 'green'
const ORANGE = 'orange'
const RED = 'red'

export interface Query {
  readonly expr: string
  readonly legend: string
}

/** From which value on it is worth a look, and from which on somebody should act. */
export interface Limits {
  readonly warn: number
  readonly act: number
}

interface PanelSettings {
  readonly title: string
  readonly about: string
  readonly unit: string
  readonly queries: readonly Query[]
  readonly limits?: Limits
}

export function stat({ title, about, unit, queries, limits }: PanelSettings): StatBuilder {
  const panel = new StatBuilder()
    .title(title)
    .description(about)
    .unit(unit)
    .datasource(DATASOURCE)
    .height(4)
    .span(4)
    .colorMode(limits === undefined ? BigValueColorMode.None : BigValueColorMode.Value)
    .reduceOptions(new ReduceDataOptionsBuilder().calcs(['lastNotNull']))
    .thresholds(thresholds(limits))
  for (const query of queries) panel.withTarget(target(query))
  return panel
}

export interface CurveSettings extends PanelSettings {
  readonly stacked?: boolean
}

export function curves({ title, about, unit, queries, limits, stacked }: CurveSettings): TimeseriesBuilder {
  const panel = new TimeseriesBuilder()
    .title(title)
    .description(about)
    .unit(unit)
    .min(0)
    .datasource(DATASOURCE)
    .height(8)
    .span(12)
    .lineWidth(1)
    .fillOpacity(stacked === true ? 40 : 8)
    .gradientMode(GraphGradientMode.Opacity)
    .showPoints(VisibilityMode.Never)
    .legend(
      new VizLegendOptionsBuilder()
        .displayMode(LegendDisplayMode.Table)
        .placement(LegendPlacement.Bottom)
        .showLegend(true)
        .calcs(['lastNotNull', 'max']),
    )
    .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi).sort(SortOrder.Descending))
    .thresholds(thresholds(limits))
  if (limits !== undefined) {
    panel.thresholdsStyle(new GraphThresholdsStyleConfigBuilder().mode(GraphThresholdsStyleMode.Dashed))
  }
  if (stacked === true) panel.stacking(new StackingConfigBuilder().mode(StackingMode.Normal))
  for (const query of queries) panel.withTarget(target(query))
  return panel
}

interface BandSettings {
  readonly title: string
  readonly about: string
  readonly queries: {
    readonly value: string
    readonly expected: string
    readonly lower: string
    readonly upper: string
  }
}

/** A value over what was expected of it: the band is filled from its upper edge down to its lower one. */
export function band({ title, about, queries }: BandSettings): TimeseriesBuilder {
  const { value, expected, lower, upper } = queries
  const panel = new TimeseriesBuilder()
    .title(title)
    .description(about)
    .unit('short')
    .datasource(DATASOURCE)
    .height(8)
    .span(12)
    .lineWidth(1)
    .showPoints(VisibilityMode.Never)
    .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi).sort(SortOrder.None))
    .withTarget(target({ expr: lower, legend: 'lower' }))
    .withTarget(target({ expr: upper, legend: 'upper' }))
    .withTarget(target({ expr: expected, legend: 'expected' }))
    .withTarget(target({ expr: value, legend: 'value' }))
  const named = (name: string, properties: { id: string; value: unknown }[]): void => {
    panel.overrideByName(name, properties)
  }
  named('lower', [{ id: 'custom.lineWidth', value: 0 }])
  named('upper', [
    { id: 'custom.fillBelowTo', value: 'lower' },
    { id: 'custom.fillOpacity', value: 15 },
    { id: 'custom.lineWidth', value: 0 },
  ])
  named('expected', [{ id: 'custom.lineStyle', value: { fill: 'dash', dash: [6, 4] } }])
  named('value', [{ id: 'custom.lineWidth', value: 2 }])
  return panel
}

function target({ expr, legend }: Query): DataqueryBuilder {
  return new DataqueryBuilder().datasource(DATASOURCE).expr(expr).legendFormat(legend).range()
}

function thresholds(limits: Limits | undefined): ThresholdsConfigBuilder {
  const steps = [{ value: null, color: GREEN }]
  if (limits === undefined) {
    return new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute).steps(steps)
  }
  return new ThresholdsConfigBuilder()
    .mode(ThresholdsMode.Absolute)
    .steps([...steps, { value: limits.warn, color: ORANGE }, { value: limits.act, color: RED }])
}

/** A dashboard with its links to the others and the variables that all have: data source, job, instance. */
export function dashboard(uid: string, title: string, about: string): DashboardBuilder {
  return new DashboardBuilder(`millrace / ${title}`)
    .uid(uid)
    .description(about)
    .tags(['millrace'])
    .refresh('10s')
    .time({ from: 'now-1h', to: 'now' })
    .timezone('browser')
    .tooltip(DashboardCursorSync.Crosshair)
    .editable()
    .link(
      new DashboardLinkBuilder('millrace')
        .type(DashboardLinkType.Dashboards)
        .tags(['millrace'])
        .keepTime(true)
        .includeVars(true),
    )
    .withVariable(
      new DatasourceVariableBuilder('datasource')
        .label('Prometheus')
        .type('prometheus')
        .hide(VariableHide.DontHide),
    )
    .withVariable(choice('job', 'Job', `label_values(${DERIVED.up.name}, job)`))
    .withVariable(choice('instance', 'Node', `label_values(${DERIVED.up.name}{job=~"$job"}, instance)`))
}

/** A variable with several values at a time, all of them to begin with. */
export function choice(name: string, label: string, query: string): QueryVariableBuilder {
  return new QueryVariableBuilder(name)
    .label(label)
    .datasource(DATASOURCE)
    .query(query)
    .refresh(VariableRefresh.OnTimeRangeChanged)
    .sort(VariableSort.AlphabeticalAsc)
    .multi(true)
    .includeAll(true)
    .current({ selected: true, text: 'All', value: '$__all' })
}
