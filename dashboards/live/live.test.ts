import { afterEach, describe, expect, it } from 'vitest'
import { send, start, stopAll } from '../../test/http/fixture.ts'
import { livePage } from './index.ts'
import { PAGE_HTML } from './page.ts'
import { PAGE_STYLE } from './style.ts'

afterEach(stopAll)

const page = livePage()
const modules = page.filter(({ path }) => path.startsWith('/live/') && path.endsWith('.js'))
const ours = modules.filter(({ path }) => path !== '/live/uplot.js')

describe('the live page', () => {
  it('is served whole: whatever a file names is there, with its type, under a policy without inline code', async () => {
    const { port } = await start({ assets: page })
    const linked = [...PAGE_HTML.matchAll(/(?:href|src)="(\/live[^"]*)"/g)].map(([, path]) => path!)
    const imported = ours.flatMap(({ body }) =>
      [...body.matchAll(/from ['"]([^'"]+)['"]/g)].map(([, name]) => name!),
    )
    expect(linked).toContain('/live/main.js')
    expect(imported).toContain('./uplot.js')
    // No package names: browsers know none.
    for (const name of imported) expect(name).toMatch(/^\.\/[a-z-]+\.js$/)
    const paths = new Set(['/', ...linked, ...imported.map((name) => `/live${name.slice(1)}`)])
    const types = { css: 'text/css', js: 'text/javascript', svg: 'image/svg+xml' }
    for (const path of paths) {
      const { status, headers } = await send(port, 'GET', path)
      const type = path === '/' ? 'text/html' : types[path.split('.').at(-1) as keyof typeof types]
      expect(status, path).toBe(200)
      expect(headers['content-type'], path).toContain(type)
      expect(headers['content-security-policy'], path).toMatch(
        /^default-src 'none'; script-src 'self'; style-src 'self'/,
      )
      expect(headers['content-security-policy'], path).not.toContain('unsafe')
      expect(headers['x-content-type-options'], path).toBe('nosniff')
    }
    // The API that the page asks is another module's to serve.
    for (const path of [
      '/live/',
      '/live/main.ts',
      '/live/main.js.map',
      '/live/../package.json',
      '/live.js',
    ]) {
      expect((await send(port, 'GET', path)).status, path).toBe(404)
    }
  })

  it('holds no inline code or style and asks nobody else', () => {
    expect(PAGE_HTML).not.toMatch(/<script(?![^>]*src=)|<style|\sstyle=|\son[a-z]+=/)
    for (const { path, body } of page) {
      if (path === '/live/uplot.js') continue
      expect(body.replaceAll('http://www.w3.org/2000/svg', ''), path).not.toMatch(
        /https?:|\/\/[a-z]+\.|url\(|@import/,
      )
    }
  })

  it('never makes markup or code of what samples contain', () => {
    for (const { path, body } of modules) {
      expect(body, path).not.toMatch(/insertAdjacentHTML|document\.write|\beval\(|new Function\(/)
    }
    for (const { path, body } of ours) expect(body, path).not.toMatch(/innerHTML|outerHTML/)
  })

  it('has every element that it fills', () => {
    const ids = ours.flatMap(({ body }) => [...body.matchAll(/byId\('([^']+)'\)/g)].map(([, id]) => id!))
    expect(ids.length).toBeGreaterThan(20)
    for (const id of ids) expect(PAGE_HTML).toContain(`id="${id}"`)
  })

  it('styles every class of its markup, and has every colour in both themes', () => {
    const classes = [...PAGE_HTML.matchAll(/class="([^"]+)"/g)].flatMap(([, names]) => names!.split(' '))
    const plain = new Set(['main', 'columns'])
    expect(classes.filter((name) => !plain.has(name) && !PAGE_STYLE.includes(`.${name}`))).toEqual([])
    const [light, dark] = ['light', 'dark'].map((theme) => {
      const block = PAGE_STYLE.split(`[data-theme="${theme}"] {`)[1]!.split('}')[0]!
      return [...block.matchAll(/--[a-z-]+/g)].map(([name]) => name).sort()
    })
    expect(light).toEqual(dark)
    const used = [...PAGE_STYLE.matchAll(/var\((--[a-z-]+)\)/g)].map(([, name]) => name!)
    for (const name of used) expect(light).toContain(name)
  })
})
