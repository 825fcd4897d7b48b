/**
 * Writes what Grafana and Prometheus read, and docs/monitoring.md, from the sources beside it: `npm run dashboards`.
 * The files are kept under version control, so that they can be used without building; a test holds them to the sources.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { stringify } from 'yaml'
import { DASHBOARDS } from './grafana/index.ts'
import { monitoringPage } from './monitoring-page.ts'
import { ruleFile } from './prometheus/rules.ts'

const GENERATED = '# Made by `npm run dashboards` from dashboards/prometheus/rules.ts: change that.\n'

/** Every generated file: path from the root of the project → text. */
export function generated(): ReadonlyMap<string, string> {
  const files = new Map<string, string>()
  for (const [file, build] of Object.entries(DASHBOARDS)) {
    files.set(`dashboards/provisioning/grafana/dashboards/${file}`, `${JSON.stringify(build(), null, 2)}\n`)
  }
  files.set(
    'dashboards/provisioning/prometheus/millrace-rules.yaml',
    GENERATED + stringify(ruleFile(), { lineWidth: 0 }),
  )
  files.set('docs/monitoring.md', monitoringPage())
  return files
}

/** Writes them below `root`. */
export function writeGenerated(root: string): void {
  for (const [path, text] of generated()) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
    console.log(path)
  }
}
