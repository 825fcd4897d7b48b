/** The dashboards, by the name of the file that each is written to. */
import type { Dashboard } from '@grafana/grafana-foundation-sdk/dashboard'
import { detection } from './detection.ts'
import { overview } from './overview.ts'
import { pipeline } from './pipeline.ts'

export const DASHBOARDS: Readonly<Record<string, () => Dashboard>> = {
  'overview.json': () => overview().build(),
  'pipeline.json': () => pipeline().build(),
  'detection.json': () => detection().build(),
}
