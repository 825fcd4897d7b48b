/** A real Alertmanager is told by a real node which alerts fire. Debian: apt-get install prometheus-alertmanager. */
import { spawn, spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { freePort, json, scratch, start, until, write, writePipeline } from './process.ts'

const PROGRAM = ['prometheus-alertmanager', 'alertmanager'].find(
  (name) => spawnSync('which', [name]).status === 0,
)

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

interface Known {
  readonly labels: Record<string, string>
  readonly annotations: Record<string, string>
  readonly startsAt: string
  readonly generatorURL: string
  readonly status: { readonly state: string }
}

test.skipIf(PROGRAM === undefined)(
  'Alertmanager knows an alert while it fires, by its labels, more severe ones in place of less severe, also after kill -9',
  async () => {
    const dir = scratch(cleanups)
    const port = await freePort()
    const config = join(dir, 'alertmanager.yml')
    writeFileSync(config, 'route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n')
    const alertmanager = spawn(
      PROGRAM!,
      [
        `--config.file=${config}`,
        `--storage.path=${join(dir, 'alertmanager')}`,
        `--web.listen-address=127.0.0.1:${port}`,
        '--cluster.listen-address=',
      ],
      { stdio: 'ignore' },
    )
    cleanups.push(async () => {
      const ended = new Promise((resolve) => alertmanager.once('exit', resolve))
      alertmanager.kill('SIGKILL')
      await ended
    })
    const known = async (): Promise<string[] | null> => {
      const alerts = await json<Known[]>(`http://127.0.0.1:${port}/api/v2/alerts`).catch(() => null)
      return alerts?.map(({ labels }) => `${labels.pump} ${labels.severity}`).sort() ?? null
    }
    const knows = async (expected: readonly string[]): Promise<void> => {
      const isSo = async (): Promise<true | null> =>
        String(await known()) === String(expected) ? true : null
      await until(isSo, 30_000).catch(() => undefined)
      expect(await known()).toEqual(expected)
    }
    await until(known, 60_000)

    const pipeline = writePipeline(
      dir,
      `export default pipeline('pumps').from(topic('metrics')).disorder('0s')
        .window(tumbling('1s'), { load: mean() })
        .detect('load', threshold({ above: 90 }), { name: 'overload', severity: { warning: 1, critical: 1.05 } })
        .to(alertmanager({ url: 'http://127.0.0.1:${port}', page: 'http://127.0.0.1:8428/' }))`,
    )
    const args = ['run', pipeline, '--data', join(dir, 'data'), '--commit-every', '20ms']
    let node = await start(args, cleanups)
    const startMs = Math.floor(Date.now() / 1_000) * 1_000 - 600_000
    let second = 0
    const feed = async (a: number, b: number): Promise<void> => {
      const lines: string[] = []
      for (let i = 0; i < 5; i++, second++) {
        const at = startMs + second * 1_000
        lines.push(`pump_load,pump=a value=${a} ${at}`, `pump_load,pump=b value=${b} ${at}`)
      }
      expect((await write(node.url, lines.join('\n'))).status).toBe(204)
    }
    await feed(50, 50)
    await feed(91, 50)
    await knows(['a warning'])
    const [alert] = await json<Known[]>(`http://127.0.0.1:${port}/api/v2/alerts`)
    expect(alert).toMatchObject({
      labels: { alertname: 'overload', pipeline: 'pumps', pump: 'a', severity: 'warning', column: 'load' },
      annotations: { summary: expect.stringMatching(/^load 91 is above 90/) },
      generatorURL: 'http://127.0.0.1:8428/',
      status: { state: 'active' },
    })
    expect(Date.parse(alert!.startsAt)).toBe(startMs + 6_000)

    await feed(99, 91)
    await knows(['a critical', 'b warning'])
    await node.kill('SIGKILL')
    node = await start(args, cleanups)
    await feed(99, 50)
    await knows(['a critical'])
    await feed(50, 50)
    await knows([])
  },
)
