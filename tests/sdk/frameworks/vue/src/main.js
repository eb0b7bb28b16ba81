import { init } from "@condev-monitor/browser";
import { condevVue } from "@condev-monitor/browser/vue";
import { createApp } from "vue";
import { createRouter, createWebHashHistory } from "vue-router";
import App from "./App.vue";
import OrderPage from "./OrderPage.vue";

init({ dsn: new URLSearchParams(location.search).get("dsn"), release: "vue-test@1.0.0" });

const router = createRouter({
  history: createWebHashHistory(),
  routes: [
    { path: "/", name: "home", component: { template: "", render: () => "home" } },
    { path: "/orders/:id", component: OrderPage },
  ],
});
const app = createApp(App);
// A handler of the page's own: it goes on being called.
app.config.errorHandler = (error) => {
  document.getElementById("own").textContent = `own handler: ${error.message}`;
};
app.use(router);
app.use(condevVue({ props: true }));
app.mount("#app");
